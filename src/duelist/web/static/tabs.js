// Other tabs of the same person: what was answered or undone in one leaves the others.

export class Tabs {
  constructor(name, onMessage) {
    this.channel = new BroadcastChannel(name);
    this.channel.addEventListener("message", (event) => onMessage(event.data));
  }

  // message: {kind: "answered", act} or {kind: "undone", act_id} or {kind: "signed-in"}
  post(message) {
    this.channel.postMessage(message);
  }
}
