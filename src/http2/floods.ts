/** A burst and a rate. */
export interface Rate {
  readonly burst: number;
  readonly perS: number;
}

/**
 * Limits of frames that cost work and carry nothing; a connection that exceeds one ends with ENHANCE_YOUR_CALM. Frames that carry something
 * (HEADERS, DATA in both directions) earn the peer further PING, WINDOW_UPDATE and empty frames, since busy peers send those in proportion.
 */
export const floodRates = {
  /** Streams that the peer opens and resets (CVE-2023-44487), or makes us reset by invalid frames (CVE-2025-8671). */
  resets: { burst: 900, perS: 33 },
  /** Streams beyond the announced SETTINGS_MAX_CONCURRENT_STREAMS. */
  refused: { burst: 1000, perS: 100 },
  /** SETTINGS: each is acknowledged, and a new window touches every stream. */
  settings: { burst: 100, perS: 10 },
  pings: { burst: 1000, perS: 100 },
  /** PRIORITY, frames of unknown types, and frames for streams that have closed. */
  useless: { burst: 1000, perS: 100 },
  /** DATA without bytes and without END_STREAM. */
  emptyData: { burst: 1000, perS: 100 },
  windowUpdates: { burst: 2000, perS: 200 },
} as const satisfies Record<string, Rate>;

/** WINDOW_UPDATE frames that one DATA frame of ours earns: one for the stream, one for the connection, and the same for a small peer. */
const windowUpdatesPerData = 4;
/** Bytes of DATA that earn one more: Go sends two WINDOW_UPDATEs for each 4 KiB that its application reads, whatever the frames' size. */
const bytesPerWindowUpdate = 1024;

/** One header block: its compressed bytes relative to the decoded limit, and the frames that it may come in beyond what its bytes need. */
export const blockBytesPerListByte = 2;
export const blockBytesMin = 64 << 10;
export const blockFramesMin = 16;

/** Frames other than DATA that wait for a peer that does not read: acknowledgments, resets, window updates; and their bytes, heads included. */
export const queuedControlFramesMax = 1000;
export const queuedBytesMax = 4 << 20;

export const settingsEntriesMax = 32;

/** Bytes of a GOAWAY, which is kept until it is complete. */
export const goAwayBytesMax = 16 << 10;

/** A token bucket: `burst` frames at once, `perS` frames a second. */
export class Bucket {
  #used = 0;
  #sinceMs = 0;

  constructor(private readonly rate: Rate) {}

  /** False: the limit is exceeded. */
  take(): boolean {
    const now = Date.now();
    const { burst, perS } = this.rate;
    this.#used = Math.max(0, this.#used - (Math.max(0, now - this.#sinceMs) / 1000) * perS) + 1;
    this.#sinceMs = now;
    return this.#used <= burst;
  }

  earn(frames: number): void {
    this.#used = Math.max(0, this.#used - frames);
  }
}

/** Counts the frames of one peer that carry nothing. */
export class Floods {
  readonly resets = new Bucket(floodRates.resets);
  readonly refused = new Bucket(floodRates.refused);
  readonly settings = new Bucket(floodRates.settings);
  readonly #pings = new Bucket(floodRates.pings);
  readonly #useless = new Bucket(floodRates.useless);
  readonly #emptyData = new Bucket(floodRates.emptyData);
  readonly #windowUpdates = new Bucket(floodRates.windowUpdates);
  /** HEADERS that arrived, and DATA with bytes. */
  work = 0;
  #pingsEarned = 0;
  #uselessEarned = 0;
  #emptyEarned = 0;
  #windowsEarned = 0;

  constructor(
    /** DATA of this side. */
    private readonly sent: { readonly dataFrames: number; readonly dataBytes: number },
  ) {}

  ping(): boolean {
    const earned = this.work + this.sent.dataFrames;
    this.#pings.earn(earned - this.#pingsEarned);
    this.#pingsEarned = earned;
    return this.#pings.take();
  }

  useless(): boolean {
    this.#useless.earn(this.work - this.#uselessEarned);
    this.#uselessEarned = this.work;
    return this.#useless.take();
  }

  emptyData(): boolean {
    this.#emptyData.earn(this.work - this.#emptyEarned);
    this.#emptyEarned = this.work;
    return this.#emptyData.take();
  }

  windowUpdate(): boolean {
    const { dataFrames, dataBytes } = this.sent;
    const earned = dataFrames * windowUpdatesPerData + Math.floor(dataBytes / bytesPerWindowUpdate);
    this.#windowUpdates.earn(earned - this.#windowsEarned);
    this.#windowsEarned = earned;
    return this.#windowUpdates.take();
  }
}
