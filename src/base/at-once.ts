/** Runs a task for each item, so many at once, each as soon as one before it has ended. Rejects with the first error. */
export async function eachAtOnce<T>(
  items: readonly T[],
  atOnce: number,
  task: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const left = items.entries();
  const work = async (): Promise<void> => {
    for (const [index, item] of left) await task(item, index);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}
