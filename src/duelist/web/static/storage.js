// What the browser keeps for one annotator of one study. Two people who share a browser never see each other's values.

export class Storage {
  // `onTrouble` is called once when the browser refuses to keep data; values then live as long as the page.
  constructor(namespace, onTrouble) {
    this.prefix = `duelist:${namespace}:`;
    this.memory = new Map();
    this.onTrouble = onTrouble;
  }

  get(name) {
    if (this.memory.has(name)) return this.memory.get(name);
    try {
      const text = localStorage.getItem(this.prefix + name);
      return text === null ? null : JSON.parse(text);
    } catch {
      return null;
    }
  }

  set(name, value) {
    try {
      localStorage.setItem(this.prefix + name, JSON.stringify(value));
      this.memory.delete(name);
    } catch {
      this.memory.set(name, value);
      this.onTrouble?.();
      this.onTrouble = null;
    }
  }

  remove(name) {
    this.memory.delete(name);
    try {
      localStorage.removeItem(this.prefix + name);
    } catch {
      // Nothing was kept, so nothing is left to remove.
    }
  }

  // Names that begin with `start`, in no order.
  names(start) {
    const found = new Set([...this.memory.keys()].filter((name) => name.startsWith(start)));
    try {
      for (let i = 0; i < localStorage.length; i += 1) {
        const key = localStorage.key(i);
        if (key.startsWith(this.prefix + start)) found.add(key.slice(this.prefix.length));
      }
    } catch {
      // Only the values in memory exist.
    }
    return [...found];
  }
}
