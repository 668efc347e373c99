/** Removes what the kernel's tables still hold of pods that have left. */
import type { Datapath } from './loader.js';
import { decodeNote, decodeNoteDestination, decodeShare, decodeU64s, noteKinds } from './layout.js';

/**
 * After a pod left weft_pods. Handoff records that count for a pod's share are not touched: the kernel removes and uncounts
 * them when their sockets close, which every socket of a namespace does before the namespace ends. The node's probes of a pod
 * that is gone have no such end, and a share's row goes once nothing is counted in it.
 */
export function sweepReleased(datapath: Datapath): void {
  const known = new Set(
    datapath
      .map('weft_pods')
      .keys()
      .map((key) => decodeU64s(key)[0]),
  );
  const notes = datapath.map('weft_notes');
  for (const key of notes.keys()) {
    if (known.has(decodeNoteDestination(key))) continue;
    const note = notes.lookup(key);
    if (note && decodeNote(note).kind === noteKinds.probe) notes.remove(key);
  }
  const shares = datapath.map('weft_shares');
  for (const key of shares.keys()) {
    if (known.has(decodeU64s(key)[0])) continue;
    const row = shares.lookup(key);
    // Without a row in weft_pods nothing is counted any more: zero stays zero.
    if (row && decodeShare(row).notes === 0 && decodeShare(row).live === 0) shares.remove(key);
  }
  const negative = datapath.map('weft_negative');
  for (const key of negative.keys()) if (!known.has(decodeU64s(key.subarray(0, 8))[0])) negative.remove(key);
}
