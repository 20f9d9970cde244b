// A map that goes back to what it was. What it was is not copied: emission marks a place
// before every instruction, and hardly ever goes back.

/** What a map was at some time: how many changes had been made. */
export type MapMark = number;

/** A map that remembers its changes; no value is undefined. */
export class RewindableMap<K, V> {
  readonly #map = new Map<K, V>();
  // The keys that were changed, in order, and what they had before.
  readonly #keys: K[] = [];
  readonly #values: (V | undefined)[] = [];

  /** How many keys it has. */
  get size(): number {
    return this.#map.size;
  }

  /** The values, in the order that their keys came. */
  values(): Iterable<V> {
    return this.#map.values();
  }

  /** What a key has. */
  get(key: K): V | undefined {
    return this.#map.get(key);
  }

  /** Gives a key a value. */
  set(key: K, value: V): void {
    this.#note(key);
    this.#map.set(key, value);
  }

  /** Takes a key away, if it is there. */
  delete(key: K): void {
    this.#note(key);
    this.#map.delete(key);
  }

  /** Takes all keys away. */
  clear(): void {
    for (const key of this.#map.keys()) this.#note(key);
    this.#map.clear();
  }

  #note(key: K): void {
    this.#keys.push(key);
    this.#values.push(this.#map.get(key));
  }

  /** What it is now. */
  mark(): MapMark {
    return this.#keys.length;
  }

  /** Goes back to what it was then; marks that were made since are void. */
  rewind(mark: MapMark): void {
    while (this.#keys.length > mark) {
      const key = this.#keys.pop()!;
      const value = this.#values.pop();
      if (value === undefined) this.#map.delete(key);
      else this.#map.set(key, value);
    }
  }
}
