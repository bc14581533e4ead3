// The order in which a person puts cards: groups from best to worst; cards of one group are tied. Pure state, no page.

export class Order {
  // `limit`: how many cards may be placed (1 for the best only, 2 for best and worst). `ties`: whether groups may hold
  // more than one card.
  constructor(ids, { limit = ids.length, ties = true } = {}) {
    this.ids = ids;
    this.limit = limit;
    this.ties = ties;
    this.groups = [];
    this.placed = []; // {id, seconds}, in the order of placing
    this.tieNext = false;
  }

  get complete() {
    return this.placed.length === this.limit;
  }

  get unplaced() {
    return this.ids.filter((id) => !this.has(id));
  }

  has(id) {
    return this.placed.some((entry) => entry.id === id);
  }

  // Place of a card, from 1; tied cards share the best of their places. Null while it is not placed.
  place(id) {
    const group = this.#groupOf(id);
    return group < 0 ? null : 1 + this.groups.slice(0, group).flat().length;
  }

  tiedWith(id) {
    return this.groups[this.#groupOf(id)]?.filter((other) => other !== id) ?? [];
  }

  // Put a card behind the others, or into the group of the card placed last when a tie was asked for.
  append(id, seconds) {
    const last = this.placed.at(-1);
    if (this.tieNext && last) return this.tie(id, last.id, seconds);
    return this.insert(id, this.groups.length, seconds);
  }

  // Put a card before the group with this index, as a group of its own.
  insert(id, index, seconds) {
    if (!this.#note(id, seconds)) return false;
    // Taking the card out of its old place must not change which group it is put before.
    const before = this.groups[index];
    const own = this.#groupOf(id);
    if (own >= 0 && before && own === this.groups.indexOf(before) && before.length === 1) return true;
    this.#takeOut(id);
    const at = before && this.groups.includes(before) ? this.groups.indexOf(before) : this.groups.length;
    this.groups.splice(at, 0, [id]);
    return true;
  }

  // Tie a card with another. A card that is not placed yet is placed first.
  tie(id, otherId, seconds) {
    if (!this.ties || id === otherId || !this.#room(id, otherId)) return false;
    if (!this.has(otherId)) this.insert(otherId, this.groups.length, seconds);
    this.#note(id, seconds);
    this.#takeOut(id);
    this.groups[this.#groupOf(otherId)].push(id);
    return true;
  }

  remove(id) {
    if (!this.has(id)) return false;
    this.#takeOut(id);
    this.placed = this.placed.filter((entry) => entry.id !== id);
    this.tieNext = false;
    return true;
  }

  // Undo the last placement. Returns its id, or null.
  takeBack() {
    const last = this.placed.at(-1);
    if (!last) return null;
    this.remove(last.id);
    return last.id;
  }

  // Move a card one step towards best (-1) or worst (+1). A tied card first leaves its group.
  move(id, step) {
    const group = this.#groupOf(id);
    if (group < 0) return false;
    if (this.groups[group].length > 1) {
      this.groups[group] = this.groups[group].filter((other) => other !== id);
      this.groups.splice(step < 0 ? group : group + 1, 0, [id]);
      return true;
    }
    const other = group + step;
    if (other < 0 || other >= this.groups.length) return false;
    [this.groups[group], this.groups[other]] = [this.groups[other], this.groups[group]];
    return true;
  }

  toggleTie() {
    this.tieNext = this.ties && this.placed.length > 0 && !this.complete && !this.tieNext;
    return this.tieNext;
  }

  toJSON() {
    return structuredClone({ groups: this.groups, placed: this.placed });
  }

  // Take over a saved order if it is about the same cards.
  restore(saved) {
    const placed = saved?.placed?.map((entry) => entry.id) ?? [];
    const known = new Set(placed).size === placed.length && placed.every((id) => this.ids.includes(id));
    const same = [...placed].sort().join() === (saved?.groups ?? []).flat().sort().join();
    if (!saved || !known || !same || placed.length > this.limit) return false;
    this.groups = saved.groups.map((group) => [...group]);
    this.placed = saved.placed.map((entry) => ({ ...entry }));
    return true;
  }

  #groupOf(id) {
    return this.groups.findIndex((group) => group.includes(id));
  }

  #takeOut(id) {
    this.groups = this.groups.map((group) => (group.includes(id) ? group.filter((other) => other !== id) : group));
    this.groups = this.groups.filter((group) => group.length > 0);
  }

  #room(...ids) {
    return new Set([...this.placed.map((entry) => entry.id), ...ids]).size <= this.limit;
  }

  // Record when a card was placed; a card that is moved keeps its time. False if there is no room for it.
  #note(id, seconds) {
    if (this.has(id)) return true;
    if (!this.#room(id)) return false;
    this.placed.push({ id, seconds });
    this.tieNext = false;
    return true;
  }
}
