import CodeMirror from "codemirror";

const CHOICE = "graphiql:shouldPersistHeaders";
const HEADERS = "graphiql:headers";
const TABS = "graphiql:tabState";
const WITH_HEADERS = [TABS, "graphiql:queries", "graphiql:favorites"];

let editing = false;
CodeMirror.defineInitHook(() => (editing = true));

/** Whether the user switched "Persist headers" on in this browser. */
export function keepsHeaders() {
  return reachable()?.getItem(CHOICE) === "true";
}

/**
 * GraphiQL's storage, which never takes a header, and so never a key, before the user chose to keep them.
 * GraphiQL alone would: its history writes them whatever was chosen, and a late write of the tabs after switching off.
 * It would also, as it starts, forget the headers that the user did choose to keep.
 */
export function createStorage() {
  const store = reachable();
  if (!store) return null;

  const withheld = new Map(); // GraphiQL writes headers and tabs first, and the choice to keep them after

  function choose(value) {
    store.setItem(CHOICE, value);
    if (value === "true") {
      for (const key of [HEADERS, TABS]) if (withheld.has(key)) store.setItem(key, withheld.get(key));
    } else {
      store.removeItem(HEADERS);
      for (const key of WITH_HEADERS) if (store.getItem(key)) store.setItem(key, withoutHeaders(store.getItem(key)));
    }
    withheld.clear();
  }

  return {
    get length() {
      return store.length;
    },
    getItem: (key) => store.getItem(key),
    setItem(key, value) {
      if (key === CHOICE) return choose(value);
      if (keepsHeaders() || (key !== HEADERS && !WITH_HEADERS.includes(key))) return store.setItem(key, value);
      withheld.set(key, value);
      if (key !== HEADERS) store.setItem(key, withoutHeaders(value));
    },
    removeItem(key) {
      if (key === HEADERS && keepsHeaders() && !editing) return;
      withheld.delete(key);
      store.removeItem(key);
    },
    clear() {
      withheld.clear();
      for (const key of Object.keys(store)) if (key.startsWith("graphiql:")) store.removeItem(key);
    },
  };
}

function withoutHeaders(text) {
  return JSON.stringify(JSON.parse(text), (name, value) => (name === "headers" ? null : value));
}

function reachable() {
  try {
    return window.localStorage;
  } catch {
    return null; // a browser set to block site data
  }
}
