// Every style, painted from the picture at hand: small, two at a time, after everything that somebody waits for.

import { isAbort } from "./api.js";

const SIDE = 384; // pixels
const AT_ONCE = 2;
const TRIES = 8;

export class Thumbnails {
  #running = null;
  #kept = new Map(); // addresses of what was painted, by picture

  /** `list` gets one button for each style; `onChoose(name)` hears which was pressed, `onPainted(name, address)` of each painting. */
  constructor(api, list, { onChoose, onWait, onPainted }) {
    this.api = api;
    this.list = list;
    this.onChoose = onChoose;
    this.onWait = onWait;
    this.onPainted = onPainted;
    this.buttons = new Map();
  }

  showStyles(styles) {
    this.buttons = new Map(styles.map((style) => [style.name, button(style)]));
    this.list.replaceChildren(...[...this.buttons.values()].map((made) => {
      const item = document.createElement("li");
      item.append(made);
      made.addEventListener("click", () => this.onChoose(made.dataset.style));
      return item;
    }));
  }

  select(name) {
    for (const [style, made] of this.buttons) made.setAttribute("aria-pressed", String(style === name));
  }

  /** Paint a picture in every style. Those of the picture before are given up, which frees their places. */
  async paint(picture) {
    this.#running?.abort();
    const running = this.#running = new AbortController();
    this.#forgetOthers(picture);
    const kept = this.#kept.get(picture) ?? new Map();
    this.#kept.set(picture, kept);
    for (const [style, made] of this.buttons) setState(made, kept.has(style) ? "done" : "waiting", kept.get(style));
    const names = [...this.buttons.keys()].filter((style) => !kept.has(style));
    const small = await picture.small(SIDE);
    const work = async () => {
      for (let name = names.shift(); name && !running.signal.aborted; name = names.shift()) {
        await this.#one(name, small, kept, running.signal);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async #one(name, small, kept, signal) {
    const path = `v1/stylize/${encodeURIComponent(name)}?format=webp&quality=82&priority=bulk`;
    const made = this.buttons.get(name);
    try {
      const asked = { method: "POST", body: small, signal, tries: TRIES, onWait: this.onWait };
      const answer = await this.api.send(path, asked);
      kept.set(name, URL.createObjectURL(await answer.blob()));
      setState(made, "done", kept.get(name));
      this.onPainted(name, kept.get(name));
    } catch (error) {
      if (!isAbort(error)) setState(made, "failed", "", error.message);
    }
  }

  #forgetOthers(picture) {
    for (const [other, addresses] of this.#kept) {
      if (other === picture) continue;
      for (const address of addresses.values()) URL.revokeObjectURL(address);
      this.#kept.delete(other);
    }
  }
}

function button({ name, title }) {
  const made = document.createElement("button");
  made.type = "button";
  made.dataset.style = name;
  made.setAttribute("aria-pressed", "false");
  const image = document.createElement("img");
  image.alt = "";
  const label = document.createElement("span");
  label.textContent = title || name;
  made.append(image, label);
  return made;
}

function setState(made, state, address, reason = "") {
  made.dataset.state = state;
  made.title = reason;
  const image = made.querySelector("img");
  if (address) image.src = address;
  else image.removeAttribute("src");
}
