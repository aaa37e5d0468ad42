// Runs in each document of a client's tab before any script of the page, and gives it the object `resilience`.
(() => {
  if (window !== window.top) return; // a frame inside the page is no client
  const send = window.__resilienceSend;
  const clock = performance.now.bind(performance); // the true one, whatever the page replaces
  const document = performance.timeOrigin;
  let orders = null;

  function post(type, fields = {}) {
    send(JSON.stringify({ document, type, t: clock() / 1000, fields }));
  }

  function takeOrders(functions) {
    if (typeof functions?.open !== "function") throw new TypeError("resilience.takeOrders needs a function open");
    orders = functions;
    post("orders");
  }

  function deliver(name, order) {
    try {
      orders?.[name]?.(order);
    } catch (error) {
      return `${name} threw ${error?.stack ?? error}`;
    }
  }

  const fixed = (value) => ({ value, enumerable: false, writable: false, configurable: false });
  Object.defineProperty(window, "resilience", fixed(Object.freeze({ report: post, takeOrders })));
  Object.defineProperty(window, "__resilienceDeliver", fixed(deliver));
  Object.defineProperty(window, "__resilienceClock", fixed(() => [document, clock() / 1000]));
  post("document");
})();
