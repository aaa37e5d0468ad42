/**
 * The page's IndexedDB: one record of each session, one of each answer without a verdict. Every call is bounded in time.
 *
 * IndexedDB outlives a killed browser, which `localStorage` does not for a minute; so only what is here is "saved".
 */

const NAME = "resilience-quiz";
const VERSION = 1;
const LIMIT_MS = 3000;

/** @typedef {"sessions" | "answers"} StoreName */

/** @type {Promise<IDBDatabase> | null} */
let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("sessions", { keyPath: "event" });
      request.result.createObjectStore("answers", { keyPath: ["event", "question"] });
    };
    request.onsuccess = () => {
      request.result.onversionchange = () => request.result.close();
      request.result.onclose = () => (opened = null);
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("the database is blocked by another tab"));
  });
  opened.catch(() => (opened = null)); // a later call tries again
  return opened;
}

/**
 * @template T
 * @param {Promise<T>} work
 * @returns {Promise<T>}
 */
function bounded(work) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the browser's storage does not answer")), LIMIT_MS);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/**
 * @param {StoreName} store
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} work
 * @returns {Promise<any>} the request's result, once the transaction is complete
 */
async function transact(store, mode, work) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(store, mode, { durability: "strict" });
    const request = work(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? new Error("the browser's storage failed"));
  });
}

/** Store a record; resolves once it is durable. @param {StoreName} store @param {object} record */
export const put = (store, record) => bounded(transact(store, "readwrite", (s) => s.put(record)));

/** @param {StoreName} store @param {IDBValidKey} key */
export const get = (store, key) => bounded(transact(store, "readonly", (s) => s.get(key)));

/** @param {StoreName} store */
export const getAll = (store) => bounded(transact(store, "readonly", (s) => s.getAll()));

/** @param {StoreName} store @param {IDBValidKey} key */
export const remove = (store, key) => bounded(transact(store, "readwrite", (s) => s.delete(key)));
