// Draws and plays the page of one recording; below common.js. Times are seconds from the start of the file.

const HIT = 0, WRONG_OFFSET = 1, INVENTED = 2, MISSED = 3; // kinds of notes; view.py knows the first three
const KEYBOARD_WIDTH = 52, RULER_HEIGHT = 40, LANE_HEIGHT = 15; // CSS pixels; errors are marked in the lane
const TILE_WIDTH = 512; // CSS pixels of the roll that are painted at once and kept
const TILES_KEPT = 24, PICTURES_KEPT = 40;
const CLOSEST = 1200; // pixels per second
const SMALL = 12; // pixels per second, below which notes are too small for rounded corners, stripes and signs
const ROW_HEIGHT = 44; // of the list of errors, as in view.css
const BLACK = new Set([1, 3, 6, 8, 10]); // pitch classes of the black keys

const duration = () => piece.end - piece.start;

// ---------------------------------------------------------------- notes

/** Notes in order of their onsets, and ways to find those of a stretch of time. */
class Notes {
  constructor(columns, kinds) {
    this.length = columns.onset_s.length;
    this.onset = Float64Array.from(columns.onset_s);
    this.offset = Float64Array.from(columns.offset_s);
    this.pitch = Uint8Array.from(columns.pitch);
    this.velocity = Uint8Array.from(columns.velocity);
    this.confidence = Float32Array.from(columns.confidence);
    this.name = columns.name;
    this.kind = kinds;
    // The latest offset of all notes up to each, which never falls: what ends before a time is skipped by it.
    this.reach = new Float64Array(this.length);
    let latest = 0;
    for (let i = 0; i < this.length; i++) this.reach[i] = latest = Math.max(latest, this.offset[i]);
  }

  /** Call `visit` with the index of every note that sounds somewhere from one time to another. */
  between(from, to, visit) {
    for (let i = firstFrom(this.reach, from); i < this.length && this.onset[i] <= to; i++) {
      if (this.offset[i] >= from) visit(i);
    }
  }
}

/** The first index of an ascending array whose value is at least this. */
function firstFrom(values, value) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const comparison = data.comparison;
const found = new Notes(data.notes, Uint8Array.from(comparison?.kinds ?? data.notes.pitch.map(() => HIT)));
const wanted = comparison ? new Notes(comparison.notes, new Uint8Array(comparison.notes.pitch.length)) : null;
const missed = comparison ? new Notes(
  Object.fromEntries(Object.entries(comparison.notes).map(([name, values]) => [name, comparison.missed.map((i) => values[i])])),
  new Uint8Array(comparison.missed.length).fill(MISSED),
) : null;
/** What the page spans: the recording, and whatever notes lie beyond it. */
const piece = {
  start: data.start_s,
  soundEnd: data.end_s,
  end: Math.max(data.end_s, data.start_s + 1, ...[found, wanted].map((notes) => notes?.reach.at(-1) ?? 0)),
};
/** Offset of the reference note that a note of the transcription was matched with. */
const wantedOffset = (i) => wanted.offset[comparison.partners[i]];

const KINDS = [
  { kind: HIT, label: "Hit", text: "Right onset and offset" },
  { kind: INVENTED, label: "Invented", text: "Not in the reference" },
  { kind: MISSED, label: "Missed", text: "Only in the reference" },
  { kind: WRONG_OFFSET, label: "Wrong offset", text: "Right onset, wrong offset" },
];
const hiddenKinds = new Set();

// ---------------------------------------------------------------- words

const clock = (seconds, digits = 1) => {
  const unit = 10 ** digits, whole = Math.round(Math.max(0, seconds) * unit);
  const rest = ((whole / unit) % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  const minutes = Math.floor(whole / unit / 60), hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
};
const percent = (share) => (share === null ? "–" : (100 * share).toFixed(1));
const count = (number, one, several) => `${number.toLocaleString("en")} ${number === 1 ? one : several}`;
const say = (text) => { by("live").textContent = text; };

/** A new element with this text. */
function element(tag, text = "", properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.textContent = text;
  return made;
}

/** What is to be said of a note: a heading and lines. */
function described(notes, i) {
  const kind = notes.kind[i];
  const lines = [
    `${clock(notes.onset[i], 3)} to ${clock(notes.offset[i], 3)}, ${(notes.offset[i] - notes.onset[i]).toFixed(3)} s`,
    `velocity ${notes.velocity[i]}` + (kind === MISSED ? "" : `, confidence ${notes.confidence[i].toFixed(2)}`),
  ];
  if (comparison && kind === WRONG_OFFSET) lines.push(offsetError(i));
  else if (comparison) lines.push(KINDS.find((one) => one.kind === kind).text.toLowerCase());
  return { heading: notes.name[i], lines };
}

function offsetError(i) {
  const late = found.offset[i] - wantedOffset(i);
  return `ends ${Math.abs(late).toFixed(2)} s too ${late > 0 ? "late" : "early"}`;
}

// ---------------------------------------------------------------- colours

const colours = {};

/** Read the colours that view.css gives to the theme, and make a colour for each velocity. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["panel", "edge", "ink", "faint", "accent", "roll", "roll-black", "grid", "grid-strong", "ghost",
    "ghost-strength", "soft", "middle", "loud", "invented", "missed", "offset", "cursor", "note-edge", "key-white",
    "key-black", "key-edge"]) colours[name] = style.getPropertyValue(`--${name}`).trim();
  const stops = ["soft", "middle", "loud"].map((name) => channels(colours[name]));
  colours.velocityChannels = Array.from({ length: 128 }, (_, velocity) => {
    const place = Math.min(Math.max((velocity - 16) / 96, 0), 1) * 2; // hardly any piano note is outside 16 to 112
    const [from, to] = place < 1 ? [stops[0], stops[1]] : [stops[1], stops[2]];
    const mixed = from.map((value, c) => Math.round(value + (to[c] - value) * (place - (place < 1 ? 0 : 1))));
    return mixed;
  });
  colours.velocity = colours.velocityChannels.map((mixed) => `rgb(${mixed.join(" ")})`);
  colours.channels = [HIT, WRONG_OFFSET, INVENTED, MISSED].map((kind) => channels(kindColour(kind)));
}

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const kindColour = (kind) => [colours.middle, colours.offset, colours.invented, colours.missed][kind];

/** The sign of a kind, the same wherever it stands, so that nobody has to tell colours apart. */
function drawSign(context, kind, x, y, size) {
  const half = size / 2;
  context.strokeStyle = context.fillStyle = kindColour(kind);
  context.lineWidth = Math.max(1.5, size / 6);
  context.lineCap = "round";
  context.beginPath();
  if (kind === HIT) {
    context.roundRect(x - half, y - half * 0.6, size, size * 0.6, size / 5);
    context.fill();
  } else if (kind === INVENTED) {
    context.moveTo(x - half * 0.8, y - half * 0.8);
    context.lineTo(x + half * 0.8, y + half * 0.8);
    context.moveTo(x - half * 0.8, y + half * 0.8);
    context.lineTo(x + half * 0.8, y - half * 0.8);
    context.stroke();
  } else if (kind === MISSED) {
    context.arc(x, y, half * 0.82, 0, 7);
    context.stroke();
  } else {
    context.moveTo(x - half, y);
    context.lineTo(x + half * 0.6, y);
    context.moveTo(x + half * 0.6, y - half * 0.8);
    context.lineTo(x + half * 0.6, y + half * 0.8);
    context.stroke();
  }
}

/** Give a canvas as many pixels as the screen has for it, and a context in CSS pixels. */
function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [across, down] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** Rectangles set pixel by pixel, which is much the fastest where there are tens of thousands of small ones. */
class Pixels {
  constructor(across, down) {
    [this.across, this.down] = [across, down];
    this.picture = new ImageData(across, down);
    this.values = new Uint32Array(this.picture.data.buffer);
  }

  /** Fill from one column to another and from one row to another with [red, green, blue]. */
  fill(left, right, top, bottom, colour, opacity = 1) {
    const value = (Math.round(255 * opacity) << 24) | (colour[2] << 16) | (colour[1] << 8) | colour[0]; // little endian
    const first = Math.max(0, left), last = Math.min(right, this.across), end = Math.min(bottom, this.down);
    for (let y = Math.max(0, top); y < end; y++) {
      for (let x = first; x < last; x++) this.values[y * this.across + x] = value;
    }
  }

  drawOn(context, width, height) {
    const canvas = new OffscreenCanvas(this.across, this.down);
    canvas.getContext("2d").putImageData(this.picture, 0, 0);
    context.drawImage(canvas, 0, 0, width, height);
  }
}

// ---------------------------------------------------------------- data in the page

/** The bytes that an element holds in Base64, once the browser has read so far; null if there is none. */
async function bytesOf(id) {
  // The element is whole when something follows it.
  while (!by(id)?.nextSibling && document.readyState === "loading") await new Promise((resolve) => setTimeout(resolve, 30));
  const holder = by(id);
  return holder && Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0));
}

/** The spectrogram: grey pictures, decoded when they are wanted and coloured for the theme. */
class Spectrogram {
  constructor(changed) {
    this.changed = changed; // is told from where to where, in seconds, there is more to see
    this.pictures = new Map(); // by the id of their element; null while they are decoded
    this.colouring = 0;
  }

  /** Seconds of one column, and of one tile. */
  column(level) { return data.picture.levels[level] / data.picture.frames_per_second; }
  tile(level) { return this.column(level) * data.picture.tile_columns; }

  /** The finest level of which a column is no narrower than most of a pixel. */
  level(pixelsPerSecond) {
    const last = data.picture.levels.length - 1;
    for (let level = 0; level < last; level++) if (this.column(level) * pixelsPerSecond > 0.6) return level;
    return last;
  }

  recolour() {
    this.colouring++;
    this.pictures.clear();
  }

  /** Draw what is there of a stretch of time, and ask for what is not. */
  draw(context, from, to, pixelsPerSecond, top, height) {
    const level = this.level(pixelsPerSecond), coarsest = data.picture.levels.length - 1;
    context.save();
    context.globalAlpha = Number(colours["ghost-strength"]);
    for (let index = Math.max(0, Math.floor((from - piece.start) / this.tile(level))); ; index++) {
      const first = piece.start + index * this.tile(level);
      if (first > Math.min(to, piece.soundEnd)) break;
      if (this.#drawTile(context, level, index, from, pixelsPerSecond, top, height) || level === coarsest) continue;
      context.save(); // something coarse, until it is decoded
      context.beginPath();
      context.rect((first - from) * pixelsPerSecond, top, this.tile(level) * pixelsPerSecond, height);
      context.clip();
      for (let coarse = Math.floor((first - piece.start) / this.tile(coarsest)); ; coarse++) {
        if (coarse * this.tile(coarsest) >= first - piece.start + this.tile(level)) break;
        this.#drawTile(context, coarsest, coarse, from, pixelsPerSecond, top, height);
      }
      context.restore();
    }
    context.restore();
  }

  #drawTile(context, level, index, from, pixelsPerSecond, top, height) {
    const picture = this.#picture(level, index);
    if (!picture) return false;
    // A frame stands for the middle of what it covers.
    const first = piece.start + index * this.tile(level) - 0.5 / data.picture.frames_per_second;
    const left = Math.round((first - from) * pixelsPerSecond);
    const right = Math.round((first + picture.width * this.column(level) - from) * pixelsPerSecond);
    context.drawImage(picture, left, top, Math.max(1, right - left), height);
    return true;
  }

  #picture(level, index) {
    const id = `tile-${level}-${index}`;
    const known = this.pictures.get(id);
    if (known === undefined) {
      this.pictures.set(id, null);
      this.#decode(id, level, index, this.colouring);
    } else if (known) { // as the one used last
      this.pictures.delete(id);
      this.pictures.set(id, known);
    }
    return known;
  }

  async #decode(id, level, index, colouring) {
    const bytes = await bytesOf(id);
    if (!bytes) return;
    const grey = await createImageBitmap(new Blob([bytes], { type: "image/webp" }));
    if (colouring !== this.colouring) return;
    const canvas = new OffscreenCanvas(grey.width, grey.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(grey, 0, 0);
    const pixels = context.getImageData(0, 0, grey.width, grey.height);
    const [red, green, blue] = channels(colours.ghost);
    for (let i = 0; i < pixels.data.length; i += 4) { // brightness becomes opacity
      const strength = pixels.data[i] / 255;
      pixels.data[i] = red;
      pixels.data[i + 1] = green;
      pixels.data[i + 2] = blue;
      pixels.data[i + 3] = 255 * strength ** 1.5;
    }
    context.putImageData(pixels, 0, 0);
    this.pictures.set(id, canvas);
    for (const old of this.pictures.keys()) {
      if (this.pictures.size <= PICTURES_KEPT) break;
      if (!old.startsWith(`tile-${data.picture.levels.length - 1}-`)) this.pictures.delete(old);
    }
    const first = piece.start + index * this.tile(level);
    this.changed(first, first + this.tile(level));
  }
}

// ---------------------------------------------------------------- sound

/** Plays the recording and the notes on one clock, that of the sound itself. */
class Player {
  constructor(changed) {
    this.changed = changed; // is told when playing begins or ends
    this.playing = false;
    this.position = piece.start; // where playing began or will begin
    this.balance = 0.5; // 0 the recording alone, 1 the transcription alone
    this.buffers = new Map(); // promises of decoded pieces, by their number
    this.sources = new Set(); // all that is to be stopped
  }

  /** Seconds of the piece that are heard now. */
  get time() {
    if (!this.playing) return this.position;
    const heard = this.context.currentTime - (this.context.outputLatency || 0) - this.startedAt;
    return Math.min(this.position + Math.max(0, heard), piece.end);
  }

  async play() {
    if (this.playing || this.starting) return;
    this.starting = true;
    this.changed();
    if (this.position >= piece.end - 0.01) this.position = piece.start;
    this.#open();
    await Promise.all([this.context.resume(), this.#buffer(this.#pieceAt(this.position))]);
    if (!this.starting) return; // paused meanwhile
    this.starting = false;
    this.playing = true;
    this.startedAt = this.context.currentTime + 0.05;
    this.nextPiece = this.#pieceAt(this.position);
    this.nextNote = firstFrom(found.onset, this.position);
    this.run = new AbortController(); // aborted at the end of this run
    found.between(this.position - 0.001, this.position, (i) => { if (i < this.nextNote) this.#sound(i); });
    this.#ahead();
    this.timer = setInterval(() => this.#ahead(), 150);
    this.changed();
  }

  pause() {
    if (!this.playing) {
      this.starting = false;
      this.changed();
      return;
    }
    this.position = this.time;
    this.playing = false;
    clearInterval(this.timer);
    this.run.abort();
    for (const source of this.sources) source.stop();
    this.sources.clear();
    this.changed();
  }

  seek(time) {
    const again = (this.playing || this.starting) && time < piece.end;
    this.pause();
    this.position = Math.min(Math.max(time, piece.start), piece.end);
    return again ? this.play() : undefined;
  }

  set fader(balance) {
    this.balance = balance;
    if (!this.context) return;
    const now = this.context.currentTime;
    this.recording.gain.setTargetAtTime(Math.cos((balance * Math.PI) / 2), now, 0.015);
    this.transcription.gain.setTargetAtTime(Math.sin((balance * Math.PI) / 2), now, 0.015);
  }

  #open() {
    if (this.context) return;
    this.context = new AudioContext({ sampleRate: data.sound.sample_rate });
    const limit = new WaveShaperNode(this.context, { curve: Float32Array.from({ length: 1025 }, (_, i) => Math.tanh((i - 512) / 512 * 1.5) / Math.tanh(1.5)) });
    limit.connect(this.context.destination);
    [this.recording, this.transcription] = [0, 0].map(() => new GainNode(this.context, { gain: 0 }));
    this.recording.connect(this.context.destination);
    this.transcription.connect(limit);
    this.waves = new Map();
    this.fader = this.balance;
  }

  #pieceAt(time) { return Math.max(0, Math.floor((time - piece.start) / data.sound.piece_s)); }

  /** The decoded piece of this number; null where the recording has ended or cannot be decoded. */
  #buffer(number) {
    if (!this.buffers.has(number)) {
      const decoded = bytesOf(`piece-${number}`).then((bytes) => bytes && this.context.decodeAudioData(bytes.buffer));
      this.buffers.set(number, decoded.catch(() => {
        remark("This browser cannot decode the recording (Opus in WebM); the transcription is played alone.");
        return null;
      }));
      for (const old of this.buffers.keys()) if (this.buffers.size > 5) this.buffers.delete(old);
    }
    return this.buffers.get(number);
  }

  /** Prepare what is heard in the next seconds: never more, so that even a long piece has few nodes. */
  #ahead() {
    const time = this.position + this.context.currentTime - this.startedAt;
    if (time >= piece.end + 0.2) {
      this.pause();
      return;
    }
    while (this.nextPiece <= this.#pieceAt(Math.min(time + 4, piece.soundEnd))) this.#playPiece(this.nextPiece++, this.run.signal);
    while (this.nextNote < found.length && found.onset[this.nextNote] < time + 1.5) this.#sound(this.nextNote++);
  }

  async #playPiece(number, stopped) {
    const buffer = await this.#buffer(number);
    if (!buffer || stopped.aborted) return;
    const { piece_s: length, margin_s: margin } = data.sound;
    const lead = number ? margin : 0;
    // A browser that does not leave out the delay of the encoder gives a piece that is longer.
    const delay = Math.max(0, buffer.duration - length - lead - margin);
    const at = this.startedAt + piece.start + number * length - this.position; // when the piece proper begins
    const now = this.context.currentTime + 0.005, begin = Math.max(at - lead, now, this.startedAt);
    const skipped = begin - (at - lead) + delay;
    if (skipped >= buffer.duration) return;
    const gain = new GainNode(this.context, { gain: number && at > begin ? 0 : 1 });
    if (number && at > begin) {
      gain.gain.setValueAtTime(0, at - margin);
      gain.gain.linearRampToValueAtTime(1, at + margin);
    }
    gain.gain.setValueAtTime(1, Math.max(at + length - margin, begin));
    gain.gain.linearRampToValueAtTime(0, Math.max(at + length + margin, begin + 0.001));
    gain.connect(this.recording);
    this.#start(new AudioBufferSourceNode(this.context, { buffer }), gain, begin, skipped);
  }

  /** Sound a note of the transcription: a few harmonics that die away, the faster the higher. */
  #sound(i) {
    const strength = found.velocity[i] / 127, pitch = found.pitch[i];
    const at = this.startedAt + found.onset[i] - this.position, now = this.context.currentTime;
    const end = this.startedAt + Math.max(found.offset[i], found.onset[i] + 0.05) - this.position;
    const begin = Math.max(at, now, this.startedAt);
    if (end <= begin) return;
    const decay = 0.25 + 1.6 * 2 ** ((48 - pitch) / 16);
    const peak = 0.24 * strength ** 1.4 * Math.exp((at - begin) / decay);
    const oscillator = new OscillatorNode(this.context, { frequency: data.tuning_hz * 2 ** ((pitch - 69) / 12) });
    oscillator.setPeriodicWave(this.#wave(pitch, strength));
    const gain = new GainNode(this.context, { gain: 0 });
    gain.gain.setValueAtTime(0, begin);
    gain.gain.linearRampToValueAtTime(peak, begin + 0.004);
    gain.gain.setTargetAtTime(0, begin + 0.004, decay);
    gain.gain.setTargetAtTime(0, Math.max(end, begin + 0.005), 0.05);
    gain.connect(this.transcription);
    this.#start(oscillator, gain, begin, undefined);
    oscillator.stop(end + 0.4);
  }

  #wave(pitch, strength) {
    const key = 8 * Math.floor(pitch / 12) + Math.floor(strength * 3.99);
    if (!this.waves.has(key)) {
      const harmonics = Math.max(2, Math.min(24, Math.floor(9000 / (440 * 2 ** ((pitch - 69) / 12)))));
      const slope = 2.3 - 0.25 * Math.floor(strength * 3.99);
      const imag = Float32Array.from({ length: harmonics + 1 }, (_, n) => (n ? n ** -slope : 0));
      this.waves.set(key, new PeriodicWave(this.context, { imag }));
    }
    return this.waves.get(key);
  }

  #start(source, gain, begin, offset) {
    source.connect(gain);
    if (offset === undefined) source.start(begin);
    else source.start(begin, offset);
    this.sources.add(source);
    source.onended = () => {
      this.sources.delete(source);
      gain.disconnect();
    };
  }
}

// ---------------------------------------------------------------- the roll

/** The piano roll: keyboard, time and notes. What it shows is painted in tiles, so that scrolling moves pictures. */
class Roll {
  constructor() {
    this.box = by("roll");
    this.left = piece.start; // seconds at the left edge
    this.scale = 100; // pixels per second
    this.keys = data.highest - data.lowest + 1;
    const [low, high] = pitchesInUse();
    this.keysShown = Math.min(this.keys, Math.max(42, high - low + 13));
    this.top = Math.min(data.highest + 1, (low + high + 1 + this.keysShown) / 2); // pitch at the upper edge
    this.top = Math.max(this.top, data.lowest + this.keysShown);
    this.tiles = new Map();
    this.ruler = document.createElement("canvas");
    this.showsSpectrogram = true;
    this.picked = null; // [notes, index] that is outlined
    this.spectrogram = new Spectrogram((from, to) => this.stale(from, to));
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  get width() { return Math.max(1, this.box.clientWidth - KEYBOARD_WIDTH); }
  get height() { return Math.max(1, this.box.clientHeight - RULER_HEIGHT); }
  get right() { return this.left + this.width / this.scale; }
  get keyHeight() { return this.height / this.keysShown; }
  get smallest() { return Math.min(CLOSEST, (this.width - 8) / duration()); }
  x(time) { return (time - this.left) * this.scale; }
  y(pitch) { return (this.top - pitch - 1) * this.keyHeight; } // of the upper edge of a key's row
  time(x) { return this.left + x / this.scale; }
  pitch(y) { return Math.ceil(this.top - y / this.keyHeight) - 1; }

  resize() {
    const [width, height] = [this.width, this.height];
    for (const [id, left, top, across, down] of [
      ["ruler", KEYBOARD_WIDTH, 0, width, RULER_HEIGHT], ["keyboard", 0, RULER_HEIGHT, KEYBOARD_WIDTH, height],
      ["notes", KEYBOARD_WIDTH, RULER_HEIGHT, width, height], ["overlay", KEYBOARD_WIDTH, RULER_HEIGHT, width, height],
    ]) Object.assign(by(id).style, { left: `${left}px`, top: `${top}px`, width: `${across}px`, height: `${down}px` });
    this.scale = Math.max(this.scale, this.smallest);
    this.moveTo(this.left);
    this.repaint();
  }

  /** Paint all anew. */
  repaint() {
    this.tiles.clear();
    this.rulerView = "";
    redraw();
  }

  /** Some of the spectrogram has come. */
  stale(from, to) {
    for (const [index, tile] of this.tiles) {
      const first = piece.start + (index * TILE_WIDTH) / this.scale;
      if (first < to && first + TILE_WIDTH / this.scale > from) tile.stale = true;
    }
    redraw();
  }

  moveTo(left) {
    this.left = Math.max(piece.start, Math.min(left, piece.end - (this.width - 8) / this.scale));
    redraw();
  }

  /** Zoom so that the time at this distance from the left edge stays where it is. */
  zoom(factor, x = this.width / 2) {
    const time = this.time(x);
    this.scale = Math.min(CLOSEST, Math.max(this.smallest, this.scale * factor));
    this.moveTo(time - x / this.scale);
    this.repaint();
  }

  zoomKeys(factor, y = this.height / 2) {
    const at = this.top - y / this.keyHeight;
    this.keysShown = Math.min(this.keys, Math.max(12, this.keysShown / factor));
    this.moveKeys(at + y / this.keyHeight - this.top);
  }

  moveKeys(by) {
    this.top = Math.min(data.highest + 1, Math.max(data.lowest + this.keysShown, this.top + by));
    this.repaint();
  }

  showAll() {
    this.keysShown = this.keys;
    this.moveKeys(0);
    this.zoom(0);
  }

  /** Bring a time into sight, with something before it. */
  show(time, always = false) {
    if (always || time < this.left || time > this.right - 40 / this.scale) this.moveTo(time - (0.3 * this.width) / this.scale);
  }

  draw(time) {
    const context = sized(by("notes"), this.width, this.height), ratio = window.devicePixelRatio || 1;
    const scroll = Math.round((this.left - piece.start) * this.scale * ratio) / ratio;
    const first = Math.floor(scroll / TILE_WIDTH), last = Math.floor((scroll + this.width) / TILE_WIDTH);
    let refreshed = false;
    for (let index = first; index <= last; index++) {
      let tile = this.tiles.get(index);
      if (!tile || (tile.stale && !refreshed)) { // at most one that is there already, so that no picture waits
        refreshed ||= Boolean(tile);
        tile = this.#paint(index, tile?.canvas);
        this.tiles.set(index, tile);
      }
      context.drawImage(tile.canvas, index * TILE_WIDTH - scroll, 0, TILE_WIDTH, this.height);
      if (tile.stale) redraw();
    }
    for (const index of this.tiles.keys()) {
      if (this.tiles.size <= TILES_KEPT) break;
      if (index < first || index > last) this.tiles.delete(index);
    }
    this.#drawOverlay(time);
    this.#drawRuler(time);
    this.#drawKeyboard(time);
  }

  #paint(index, canvas = document.createElement("canvas")) {
    const context = sized(canvas, TILE_WIDTH, this.height);
    const from = piece.start + (index * TILE_WIDTH) / this.scale, to = from + TILE_WIDTH / this.scale;
    const at = (time) => (time - from) * this.scale;
    context.fillStyle = colours.roll;
    context.fillRect(0, 0, TILE_WIDTH, this.height);
    for (let pitch = data.lowest; pitch <= data.highest; pitch++) {
      if (BLACK.has(pitch % 12)) {
        context.fillStyle = colours["roll-black"];
        context.fillRect(0, this.y(pitch), TILE_WIDTH, this.keyHeight);
      }
    }
    if (this.showsSpectrogram) {
      const rows = (data.picture.highest - data.picture.lowest + 1) * this.keyHeight;
      this.spectrogram.draw(context, from, to, this.scale, this.y(data.picture.highest), rows);
    }
    const step = this.#tick();
    for (let tick = Math.ceil(from / step); tick * step < to; tick++) {
      context.fillStyle = colours.grid;
      context.fillRect(Math.round(at(tick * step)), 0, 1, this.height);
    }
    for (let pitch = data.lowest; pitch <= data.highest; pitch++) {
      if (pitch % 12 !== 0) continue;
      context.fillStyle = colours["grid-strong"];
      context.fillRect(0, Math.round(this.y(pitch) + this.keyHeight) - 0.5, TILE_WIDTH, 1);
    }
    if (this.scale < SMALL) this.#paintSmall(context, from, to);
    else this.#paintNotes(context, from, to, at);
    return { canvas, stale: false };
  }

  #paintNotes(context, from, to, at) {
    const margin = 8 / this.scale; // signs reach beyond their notes
    if (missed && !hiddenKinds.has(MISSED)) missed.between(from - margin, to + margin, (i) => this.#paintMissed(context, i, at));
    const painters = [this.#paintHit, this.#paintWrongOffset, this.#paintInvented];
    const reaching = comparison ? longestTail : 0;
    found.between(from - margin - reaching, to + margin, (i) => {
      const kind = found.kind[i];
      if (!hiddenKinds.has(kind)) painters[kind].call(this, context, i, at);
    });
  }

  /** Notes a few pixels long, of which there may be tens of thousands, set pixel by pixel. */
  #paintSmall(context, from, to) {
    const ratio = context.canvas.width / TILE_WIDTH, [across, down] = [context.canvas.width, context.canvas.height];
    const pixels = new Pixels(across, down), fill = pixels.fill.bind(pixels);
    const row = this.keyHeight * ratio, thin = Math.max(1, Math.round(ratio));
    const column = (time) => Math.round((time - from) * this.scale * ratio);
    const draw = (notes, i) => {
      const kind = notes.kind[i], left = column(notes.onset[i]), right = Math.max(left + thin, column(notes.offset[i]));
      const top = Math.round(this.y(notes.pitch[i]) * ratio), bottom = Math.max(top + 2 * thin, Math.round(top + row - thin));
      if (kind === MISSED) { // hollow
        fill(left, right, top, top + thin, colours.channels[MISSED]);
        fill(left, right, bottom - thin, bottom, colours.channels[MISSED]);
      } else if (kind === INVENTED) { // taller
        fill(left, right, top - thin, bottom + thin, colours.channels[INVENTED], 0.3 + 0.7 * notes.confidence[i]);
      } else {
        fill(left, right, top, bottom, colours.velocityChannels[notes.velocity[i]], 0.3 + 0.7 * notes.confidence[i]);
        if (kind === HIT) return;
        const ends = [right, column(wantedOffset(i))].sort((one, other) => one - other), middle = Math.round((top + bottom - thin) / 2);
        fill(Math.max(left, ends[0]), ends[1], middle, middle + thin, colours.channels[WRONG_OFFSET]);
      }
    };
    for (const notes of [missed, found]) {
      notes?.between(from - (comparison ? longestTail : 0), to, (i) => { if (!hiddenKinds.has(notes.kind[i])) draw(notes, i); });
    }
    pixels.drawOn(context, TILE_WIDTH, this.height);
  }

  /** Where a note goes: left, top, width, height. */
  #place(notes, i, at) {
    const gap = this.keyHeight > 5 ? 1 : 0, left = at(notes.onset[i]);
    return [left, this.y(notes.pitch[i]) + gap / 2, Math.max(1, at(notes.offset[i]) - left), Math.max(2, this.keyHeight - gap)];
  }

  #paintHit(context, i, at) {
    const [x, y, width, height] = this.#place(found, i, at);
    context.globalAlpha = 0.3 + 0.7 * found.confidence[i];
    context.fillStyle = colours.velocity[found.velocity[i]];
    if (width < 4) context.fillRect(x, y, width, height);
    else {
      context.beginPath();
      context.roundRect(x, y, width - 0.5, height, Math.min(3, height / 3));
      context.fill();
      context.strokeStyle = colours["note-edge"];
      context.lineWidth = 0.75;
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  /** A hit whose end is amber: full where it sounds too long, an outline where it should go on. */
  #paintWrongOffset(context, i, at) {
    const [x, y, width, height] = this.#place(found, i, at);
    const right = at(wantedOffset(i));
    this.#paintHit(context, i, at);
    context.fillStyle = context.strokeStyle = colours.offset;
    if (right < x + width) {
      const from = Math.max(x, right);
      context.fillRect(from, y + height / 4, x + width - from, height / 2);
    } else {
      context.lineWidth = 1.25;
      context.strokeRect(x + width, y + height / 4, right - x - width, height / 2);
    }
    context.fillRect(right - 1, y - 1, 2, height + 2);
  }

  /** Square, with stripes and a cross at its onset. */
  #paintInvented(context, i, at) {
    const [x, y, width, height] = this.#place(found, i, at);
    context.globalAlpha = 0.3 + 0.7 * found.confidence[i];
    context.fillStyle = context.strokeStyle = colours.invented;
    context.globalAlpha *= 0.4;
    context.fillRect(x, y, width, height);
    context.globalAlpha /= 0.4;
    context.lineWidth = 1;
    if (width >= 4) {
      context.save();
      context.beginPath();
      context.rect(x, y, width, height);
      context.stroke();
      context.clip();
      context.beginPath();
      for (let stripe = x - height; stripe < x + width; stripe += 5) {
        context.moveTo(stripe, y + height);
        context.lineTo(stripe + height, y);
      }
      context.stroke();
      context.restore();
    }
    context.globalAlpha = 1;
    drawSign(context, INVENTED, x, y + height / 2, Math.min(11, Math.max(7, height)));
  }

  /** Hollow and dashed, with a ring at its onset. */
  #paintMissed(context, i, at) {
    const [x, y, width, height] = this.#place(missed, i, at);
    context.strokeStyle = context.fillStyle = colours.missed;
    context.lineWidth = 1.5;
    if (width < 4) context.fillRect(x, y + height / 3, width, height / 3);
    else {
      context.setLineDash([4, 3]);
      context.strokeRect(x, y + 0.5, width, height - 1);
      context.setLineDash([]);
    }
    drawSign(context, MISSED, x, y + height / 2, Math.min(10, Math.max(7, height)));
  }

  #tick() {
    const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    return steps.find((step) => step * this.scale >= 84) ?? 7200;
  }

  #drawRuler(time) {
    const view = [this.left, this.scale, this.width, window.devicePixelRatio].join();
    if (view !== this.rulerView) { // else it is as it was, but for the cursor
      this.rulerView = view;
      this.#paintRuler();
    }
    const context = sized(by("ruler"), this.width, RULER_HEIGHT), x = this.x(time);
    context.drawImage(this.ruler, 0, 0, this.width, RULER_HEIGHT);
    context.fillStyle = colours.cursor;
    context.beginPath();
    context.moveTo(x - 5.5, RULER_HEIGHT - 10);
    context.lineTo(x + 5.5, RULER_HEIGHT - 10);
    context.lineTo(x, RULER_HEIGHT - 1);
    context.fill();
  }

  #paintRuler() {
    const context = sized(this.ruler, this.width, RULER_HEIGHT), step = this.#tick();
    context.fillStyle = colours.panel;
    context.fillRect(0, 0, this.width, RULER_HEIGHT);
    context.fillStyle = colours.edge;
    context.fillRect(0, RULER_HEIGHT - 1, this.width, 1);
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    for (let tick = Math.ceil(this.left / step); tick * step <= this.right; tick++) {
      const x = Math.round(this.x(tick * step));
      context.fillStyle = colours["grid-strong"];
      context.fillRect(x, 6, 1, RULER_HEIGHT - LANE_HEIGHT - 6);
      context.fillStyle = colours.faint;
      context.fillText(clock(tick * step, step < 0.1 ? 2 : step < 1 ? 1 : 0), x + 5, 13);
    }
    const free = Array(4).fill(-Infinity); // of each kind, where the next sign has room
    for (let i = errors.firstFrom(this.left - 1); i < errors.shown.length; i++) {
      const error = errors.shown[i], x = this.x(error.time);
      if (x > this.width + 8) break;
      if (x < free[error.kind]) continue;
      drawSign(context, error.kind, x, RULER_HEIGHT - LANE_HEIGHT / 2 - 1, 8);
      free[error.kind] = x + 5;
    }
  }

  #drawKeyboard(time) {
    const context = sized(by("keyboard"), KEYBOARD_WIDTH, this.height), right = KEYBOARD_WIDTH - 1;
    const sounding = new Map();
    found.between(time, time, (i) => { if (time < found.offset[i] && time >= found.onset[i]) sounding.set(found.pitch[i], i); });
    context.fillStyle = colours["key-white"];
    context.fillRect(0, 0, KEYBOARD_WIDTH, this.height);
    const lit = (pitch) => colours.velocity[found.velocity[sounding.get(pitch)]];
    for (let pitch = data.lowest; pitch <= data.highest; pitch++) {
      const y = this.y(pitch), isBlack = BLACK.has(pitch % 12);
      if (isBlack) continue;
      if (sounding.has(pitch)) { // a white key reaches below its black neighbours
        context.fillStyle = lit(pitch);
        const above = BLACK.has((pitch + 1) % 12) ? this.keyHeight / 2 : 0, below = BLACK.has((pitch + 11) % 12) ? this.keyHeight / 2 : 0;
        context.fillRect(0, y - above, KEYBOARD_WIDTH, this.keyHeight + above + below);
      }
      const edge = y + this.keyHeight * (BLACK.has((pitch + 11) % 12) ? 1.5 : 1);
      context.fillStyle = colours["key-edge"];
      context.fillRect(0, Math.round(edge) - 0.5, KEYBOARD_WIDTH, 1);
    }
    for (let pitch = data.lowest; pitch <= data.highest; pitch++) {
      if (!BLACK.has(pitch % 12)) continue;
      context.fillStyle = sounding.has(pitch) ? lit(pitch) : colours["key-black"];
      context.fillRect(0, this.y(pitch), KEYBOARD_WIDTH * 0.56, this.keyHeight);
    }
    context.fillStyle = colours["key-edge"];
    context.fillRect(right, 0, 1, this.height);
    context.font = `${Math.min(10, Math.max(8, this.keyHeight + 2))}px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillStyle = "#3b4350"; // white keys are light in both themes
    const half = this.keyHeight / 2;
    for (let pitch = Math.ceil(data.lowest / 12) * 12; pitch <= data.highest; pitch += 12) {
      const y = this.y(pitch) + half;
      if (y > 6 && y < this.height - 6) context.fillText(`C${pitch / 12 - 1}`, right - 4, y);
    }
    context.textAlign = "left";
  }

  #drawOverlay(time) {
    const context = sized(by("overlay"), this.width, this.height), x = Math.round(this.x(time));
    context.clearRect(0, 0, this.width, this.height);
    if (this.picked) {
      const [left, top, width, height] = this.#place(...this.picked, (at) => this.x(at));
      context.strokeStyle = colours.cursor;
      context.lineWidth = 2;
      context.strokeRect(left - 3, top - 3, width + 6, height + 6);
    }
    context.fillStyle = colours.cursor;
    context.fillRect(x - 0.75, 0, 1.5, this.height);
  }

  /** The note at a point of the roll, [notes, index], or null; the one that began last is on top. */
  noteAt(x, y) {
    const time = this.time(x), pitch = this.pitch(y), slack = 4 / this.scale;
    let at = null;
    for (const notes of [missed, found]) {
      notes?.between(time - slack, time + slack, (i) => {
        if (notes.pitch[i] === pitch && !hiddenKinds.has(notes.kind[i])) at = [notes, i];
      });
    }
    return at;
  }
}

/** The lowest and the highest pitch that has a note; of a page without notes, two octaves in the middle. */
function pitchesInUse() {
  const pitches = [found, wanted].flatMap((notes) => (notes ? [...notes.pitch] : []));
  return pitches.length ? [pitches.reduce((a, b) => Math.min(a, b)), pitches.reduce((a, b) => Math.max(a, b))] : [48, 72];
}

/** How much later than its offset, at most, the reference lets a note end, in seconds. */
const longestTail = comparison
  ? found.onset.reduce((most, _, i) => (found.kind[i] === WRONG_OFFSET ? Math.max(most, wantedOffset(i) - found.offset[i]) : most), 0)
  : 0;

// ---------------------------------------------------------------- errors

/** The errors in order, as a list of which only the rows in sight exist. */
class Errors {
  constructor() {
    this.all = [];
    if (comparison) {
      for (const [notes, kinds] of [[found, [INVENTED, WRONG_OFFSET]], [missed, [MISSED]]]) {
        for (let i = 0; i < notes.length; i++) {
          if (kinds.includes(notes.kind[i])) this.all.push({ notes, index: i, kind: notes.kind[i], time: notes.onset[i] });
        }
      }
      this.all.sort((one, other) => one.time - other.time || one.notes.pitch[one.index] - other.notes.pitch[other.index]);
    }
    this.rows = new Map();
    this.choose();
    by("error-list").addEventListener("scroll", () => this.list());
    new ResizeObserver(() => this.list()).observe(by("error-list"));
  }

  /** Leave out the kinds that are hidden. */
  choose() {
    this.shown = this.all.filter((error) => !hiddenKinds.has(error.kind));
    this.times = this.shown.map((error) => error.time);
    this.current = -1;
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    by("error-rows").style.height = `${this.shown.length * ROW_HEIGHT}px`;
    by("error-count").textContent = this.shown.length.toLocaleString("en");
    for (const id of ["error-before", "error-after"]) by(id).disabled = !this.shown.length;
    this.list();
  }

  firstFrom(time) { return firstFrom(this.times, time); }

  list() {
    const box = by("error-list"), first = Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - 4);
    const last = Math.min(this.shown.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW_HEIGHT) + 4);
    for (const [index, row] of this.rows) {
      if (index >= first && index < last) continue;
      row.remove();
      this.rows.delete(index);
    }
    let after = null; // rows stay in their order, which is that of the tab key
    for (let index = last - 1; index >= first; index--) {
      if (!this.rows.has(index)) {
        const row = this.#row(index);
        this.rows.set(index, row);
        by("error-rows").insertBefore(row, after);
      }
      after = this.rows.get(index);
      after.firstChild.setAttribute("aria-current", String(index === this.current));
    }
  }

  #row(index) {
    const error = this.shown[index], row = element("li"), button = element("button", "", { type: "button" });
    row.style.top = `${index * ROW_HEIGHT}px`;
    row.setAttribute("aria-setsize", this.shown.length);
    row.setAttribute("aria-posinset", index + 1);
    const sign = element("canvas");
    Object.assign(sign.style, { width: "14px", height: "14px" });
    drawSign(sized(sign, 14, 14), error.kind, 7, 7, 11);
    const what = element("span", "", { className: "what" });
    what.append(`${error.notes.name[error.index]} ${this.label(error)}`, element("span", this.detail(error)));
    button.append(sign, what, element("time", clock(error.time, 2)));
    button.addEventListener("click", () => this.go(index));
    row.append(button);
    return row;
  }

  label(error) { return KINDS.find((one) => one.kind === error.kind).label.toLowerCase(); }

  detail({ notes, index, kind }) {
    if (kind === WRONG_OFFSET) return offsetError(index);
    return `${(notes.offset[index] - notes.onset[index]).toFixed(2)} s long, velocity ${notes.velocity[index]}`;
  }

  /** Go to an error: the cursor, the roll, the list, and words for who cannot see them. */
  go(index) {
    if (!this.shown.length) return;
    this.current = Math.min(Math.max(index, 0), this.shown.length - 1);
    const error = this.shown[this.current], box = by("error-list"), top = this.current * ROW_HEIGHT;
    goTo(error.time);
    roll.picked = [error.notes, error.index];
    if (top < box.scrollTop || top + ROW_HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
    this.list();
    say(`Error ${this.current + 1} of ${this.shown.length}: ${error.notes.name[error.index]} ${this.label(error)} at ${clock(error.time, 2)}, ${this.detail(error)}`);
  }

  /** Go to the next error (1) or the previous one (-1): of the one that was gone to last, else of the cursor. */
  step(direction) {
    const time = player.time, last = this.shown[this.current];
    if (last && Math.abs(time - last.time) < 0.5) this.go(this.current + direction);
    else this.go(direction > 0 ? this.firstFrom(time) : this.firstFrom(time) - 1);
  }
}

// ---------------------------------------------------------------- the whole piece at a glance

class Overview {
  constructor() {
    this.canvas = by("overview");
    this.picture = document.createElement("canvas");
    this.canvas.setAttribute("aria-valuemin", piece.start.toFixed(1));
    this.canvas.setAttribute("aria-valuemax", piece.end.toFixed(1));
    new ResizeObserver(() => this.repaint()).observe(this.canvas);
  }

  get width() { return Math.max(1, this.canvas.clientWidth); }
  get height() { return Math.max(1, this.canvas.clientHeight); }
  x(time) { return ((time - piece.start) / duration()) * this.width; }
  time(x) { return piece.start + (x / this.width) * duration(); }

  repaint() {
    const context = sized(this.picture, this.width, this.height), lane = errors.all.length ? 6 : 0;
    context.fillStyle = colours.panel;
    context.fillRect(0, 0, this.width, this.height);
    const ratio = this.picture.width / this.width, pixels = new Pixels(this.picture.width, this.picture.height);
    const thin = Math.max(1, Math.round(ratio)), row = ((this.height - lane - 6) * ratio) / (data.highest - data.lowest + 1);
    const column = (time) => Math.round(this.x(time) * ratio);
    for (let i = 0; i < found.length; i++) {
      const left = column(found.onset[i]), top = Math.round(3 * ratio + (data.highest - found.pitch[i]) * row);
      const bottom = Math.max(top + thin, Math.round(top + row));
      pixels.fill(left, Math.max(left + thin, column(found.offset[i])), top, bottom, colours.channels[HIT], 0.75);
    }
    for (const error of errors.shown) {
      const left = column(error.time);
      pixels.fill(left, left + thin, pixels.down - Math.round(lane * ratio), pixels.down, colours.channels[error.kind]);
    }
    pixels.drawOn(context, this.width, this.height);
    redraw();
  }

  draw(time) {
    const context = sized(this.canvas, this.width, this.height);
    context.drawImage(this.picture, 0, 0, this.width, this.height);
    const left = this.x(roll.left), right = Math.min(this.width, this.x(roll.right));
    context.fillStyle = colours.panel;
    context.globalAlpha = 0.6;
    context.fillRect(0, 0, left, this.height);
    context.fillRect(right, 0, this.width - right, this.height);
    context.globalAlpha = 1;
    context.strokeStyle = colours.faint;
    context.lineWidth = 1;
    context.beginPath();
    context.roundRect(left + 0.5, 0.5, Math.max(4, right - left - 1), this.height - 1, 5);
    context.stroke();
    context.fillStyle = colours.cursor;
    context.fillRect(Math.min(this.x(time), this.width - 1.5), 0, 1.5, this.height);
  }
}

// ---------------------------------------------------------------- together

let isDue = false;

/** Draw before the next picture of the screen, however often it is asked for. */
function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    const time = player.time;
    if (player.playing) {
      if (follows) {
        const place = 0.35 * roll.width;
        if (roll.x(time) > place && roll.x(time) < roll.width) roll.left = Math.min(time - place / roll.scale, Math.max(piece.start, piece.end - (roll.width - 8) / roll.scale));
        else roll.show(time);
      }
      redraw();
    }
    roll.draw(time);
    overview.draw(time);
    tell(time);
  });
}

/** Put the position into words, where they changed. */
function tell(time) {
  const now = clock(time);
  if (by("now").textContent === now) return;
  by("now").textContent = now;
  by("overview").setAttribute("aria-valuenow", time.toFixed(1));
  by("overview").setAttribute("aria-valuetext", `${now} of ${clock(piece.end)}`);
}

/** Set the cursor to a time, and show it. */
function goTo(time) {
  roll.picked = null;
  player.seek(time);
  roll.show(player.position);
  redraw();
}

/** Move the view by hand, which ends following. */
function moveBy(seconds) {
  if (player.playing) setFollows(false);
  roll.moveTo(roll.left + seconds);
}

function setFollows(value) {
  follows = value;
  by("follow").setAttribute("aria-pressed", String(value));
  redraw();
}

function setFader(percent) {
  by("fader").value = percent;
  const value = Number(by("fader").value);
  by("fader").setAttribute("aria-valuetext", `${100 - value} % recording, ${value} % transcription`);
  player.fader = value / 100;
}

/** Draw everything in the colours of the theme that the page has now. */
function recolour() {
  readColours();
  fillLegend();
  roll.spectrogram.recolour();
  roll.repaint();
  errors.choose();
  overview.repaint();
}

/** Say something above the roll that is to be known. */
function remark(text) {
  const box = by("remarks");
  if ([...box.children].some((line) => line.textContent === text)) return;
  box.append(element("p", text));
  box.hidden = false;
}

/** Go to the next note (1) or the previous one (-1), and say what it is. */
function stepNote(direction) {
  if (!found.length) return;
  const picked = roll.picked?.[0] === found ? roll.picked[1] : null;
  const near = direction > 0 ? firstFrom(found.onset, player.time) : firstFrom(found.onset, player.time) - 1;
  const index = Math.min(Math.max(picked === null ? near : picked + direction, 0), found.length - 1);
  goTo(found.onset[index]);
  roll.picked = [found, index];
  const { heading, lines } = described(found, index);
  say(`Note ${index + 1} of ${found.length}: ${[heading, ...lines].join(", ")}`);
}

function fillHead() {
  document.title = `${data.recording} – piano roll`;
  by("title").textContent = data.recording;
  const facts = [clock(duration(), 0), count(found.length, "note", "notes")];
  const from = element("bdi", data.notes_from);
  by("subtitle").append(`${facts.join(" · ")} · notes: `, from);
  if (comparison) by("subtitle").append(" · reference: ", element("bdi", data.reference_name), ` (${wanted.length.toLocaleString("en")})`);
  by("subtitle").title = by("subtitle").textContent; // it may be cut off
  by("made-by").textContent = data.made_by;
  by("length").textContent = `/ ${clock(piece.end)}`;
  data.remarks.forEach(remark);
  if (!comparison) return;
  const measured = comparison.score;
  const known = measured.note_offset_velocity_f1 !== null; // else any velocities fit
  for (const [name, value, more] of [
    ["Note F1", measured.note_f1, `P ${percent(measured.note_precision)}  R ${percent(measured.note_recall)}`],
    ["+ offset", measured.note_offset_f1, `P ${percent(measured.note_offset_precision)}  R ${percent(measured.note_offset_recall)}`],
    ["+ offset, velocity", measured.note_offset_velocity_f1, known ? `P ${percent(measured.note_offset_velocity_precision)}  R ${percent(measured.note_offset_velocity_recall)}` : "one velocity in the reference"],
    ["Note duration accuracy", measured.duration_accuracy, ""],
  ]) {
    const group = element("div"), figure = element("dd", percent(value));
    if (more) figure.append(element("small", more));
    group.append(element("dt", name), figure);
    by("scores").append(group);
  }
  by("scores").hidden = by("errors").hidden = by("error-keys").hidden = false;
}

/** What shapes and colours mean; of a comparison, with buttons that hide a kind. */
function fillLegend() {
  const entries = [];
  if (comparison) {
    for (const { kind, label, text } of KINDS) {
      const number = kind === MISSED ? missed.length : found.kind.reduce((sum, one) => sum + (one === kind), 0);
      const button = element("button", "", { type: "button", title: text });
      const sign = element("canvas");
      Object.assign(sign.style, { width: "14px", height: "14px" });
      drawSign(sized(sign, 14, 14), kind, 7, 7, 11);
      button.append(sign, label, element("b", number.toLocaleString("en")));
      button.setAttribute("aria-pressed", String(!hiddenKinds.has(kind)));
      button.addEventListener("click", () => {
        if (!hiddenKinds.delete(kind)) hiddenKinds.add(kind);
        button.setAttribute("aria-pressed", String(!hiddenKinds.has(kind)));
        errors.choose();
        roll.repaint();
        overview.repaint();
      });
      const entry = element("li");
      entry.append(button);
      entries.push(entry);
    }
  }
  for (const [from, to, paint] of [
    ["soft", "loud", (share) => colours.velocity[Math.round(16 + 96 * share)]],
    ["unsure", "sure", () => colours.middle],
  ]) {
    const entry = element("li"), bar = element("canvas"), width = 56;
    Object.assign(bar.style, { width: `${width}px`, height: "10px" });
    const context = sized(bar, width, 10);
    for (let x = 0; x < width; x++) {
      if (from === "unsure") context.globalAlpha = 0.3 + (0.7 * x) / width;
      context.fillStyle = paint(x / width);
      context.fillRect(x, 0, 1, 10);
    }
    if (comparison && from === "soft") entry.className = "first";
    entry.title = from === "soft" ? "Colour: velocity" : "Opacity: confidence";
    entry.append(from, bar, to);
    entries.push(entry);
  }
  by("legend").replaceChildren(...entries);
  by("legend").classList.toggle("wide", Boolean(comparison));
}

function showTip(at, x, y) {
  const tip = by("tip");
  tip.hidden = !at;
  if (!at) return;
  const { heading, lines } = described(...at);
  const first = element("p");
  first.append(element("strong", heading));
  tip.replaceChildren(first, ...lines.map((line) => element("p", line)));
  const left = KEYBOARD_WIDTH + x + 14, top = RULER_HEIGHT + y + 14;
  tip.style.left = `${Math.min(left, roll.box.clientWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${top + tip.offsetHeight > roll.box.clientHeight ? top - tip.offsetHeight - 28 : top}px`;
}

function listenToPointer() {
  const overlay = by("overlay");
  let drag = null; // where the pointer went down, and where the view was
  overlay.addEventListener("pointerdown", (event) => {
    overlay.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, y: event.clientY, left: roll.left, top: roll.top, moved: false };
  });
  overlay.addEventListener("pointermove", (event) => {
    if (!drag) {
      showTip(roll.noteAt(event.offsetX, event.offsetY), event.offsetX, event.offsetY);
      return;
    }
    const [across, down] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.moved ||= Math.hypot(across, down) > 4;
    if (!drag.moved) return;
    overlay.classList.add("dragged");
    showTip(null);
    moveBy(drag.left - across / roll.scale - roll.left);
    if (roll.keysShown < roll.keys) roll.moveKeys(drag.top + down / roll.keyHeight - roll.top);
  });
  overlay.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) goTo(roll.time(event.offsetX));
    overlay.classList.remove("dragged");
    drag = null;
  });
  overlay.addEventListener("pointerleave", () => showTip(null));
  roll.box.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1;
    const [across, down] = [event.deltaX * unit, event.deltaY * unit];
    const bounds = overlay.getBoundingClientRect(), factor = Math.exp(-Math.max(-120, Math.min(120, down)) / 300);
    if (event.ctrlKey || event.metaKey) roll.zoom(factor, event.clientX - bounds.left);
    else if (event.altKey) roll.zoomKeys(factor, event.clientY - bounds.top);
    else if (roll.keysShown < roll.keys && !event.shiftKey && !across) roll.moveKeys(-down / roll.keyHeight / 2);
    else moveBy((across || down) / roll.scale);
  }, { passive: false });
  for (const [canvas, timeAt] of [[by("ruler"), (x) => roll.time(x)], [by("overview"), (x) => overview.time(x)]]) {
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      goTo(timeAt(event.offsetX));
    });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) goTo(timeAt(event.offsetX)); });
  }
}

/** What each key does; of those that are not here, and while another key is held, the browser decides. */
const KEYS = {
  " ": () => toggle(),
  ArrowLeft: (event) => goTo(player.time - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => goTo(player.time + (event.shiftKey ? 10 : 1)),
  ArrowUp: (event) => (event.shiftKey ? roll.zoomKeys(1.25) : roll.moveKeys(2)),
  ArrowDown: (event) => (event.shiftKey ? roll.zoomKeys(0.8) : roll.moveKeys(-2)),
  Home: () => goTo(piece.start),
  End: () => goTo(piece.end),
  "+": () => zoomAtCursor(1.5),
  "=": () => zoomAtCursor(1.5),
  "-": () => zoomAtCursor(1 / 1.5),
  0: () => roll.showAll(),
  n: () => errors.step(1),
  p: () => errors.step(-1),
  ",": () => stepNote(-1),
  ".": () => stepNote(1),
  1: () => setFader(0),
  2: () => setFader(50),
  3: () => setFader(100),
  f: () => setFollows(!follows),
};

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isFader = event.target.matches("input");
    if (isFader && /^(Arrow|Home|End|Page)/.test(key)) return; // the fader's own
    if (event.target.matches("button") && key === " ") return;
    if (event.target.closest(".error-list") && /^(ArrowUp|ArrowDown|Page)/.test(key)) return;
    if (!Object.hasOwn(KEYS, key)) return;
    event.preventDefault();
    KEYS[key](event);
  });
}

function zoomAtCursor(factor) {
  const x = roll.x(player.time);
  roll.zoom(factor, x >= 0 && x <= roll.width ? x : roll.width / 2);
}

function toggle() {
  if (player.playing || player.starting) player.pause();
  else player.play();
}

function listenToButtons() {
  by("play").addEventListener("click", toggle);
  by("fader").addEventListener("input", () => setFader(by("fader").value));
  by("zoom-in").addEventListener("click", () => zoomAtCursor(1.5));
  by("zoom-out").addEventListener("click", () => zoomAtCursor(1 / 1.5));
  by("zoom-fit").addEventListener("click", () => roll.showAll());
  by("error-after").addEventListener("click", () => errors.step(1));
  by("error-before").addEventListener("click", () => errors.step(-1));
  by("follow").addEventListener("click", () => setFollows(!follows));
  by("spectrogram").addEventListener("click", () => {
    roll.showsSpectrogram = !roll.showsSpectrogram;
    by("spectrogram").setAttribute("aria-pressed", String(roll.showsSpectrogram));
    roll.repaint();
  });
  followTheme(recolour);
}

let follows = true;
const errors = new Errors();
const player = new Player(() => {
  by("play").setAttribute("aria-pressed", String(player.playing));
  by("play").setAttribute("aria-busy", String(Boolean(player.starting)));
  by("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  redraw();
});
const roll = new Roll();
const overview = new Overview();
fillHead();
listenToButtons();
listenToPointer();
listenToKeys();
setFader(50);
roll.resize();
roll.zoom(Math.max(90, roll.smallest) / roll.scale, 0);
window.page = { player, roll, errors }; // for the console and the tests
