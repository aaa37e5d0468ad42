// The types of preact.js, from the packages that it is bundled from; for the checker only.
import { VNode } from "preact";
export { Fragment, h, render } from "preact";
export type { ComponentChildren, VNode } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export const html: (strings: TemplateStringsArray, ...values: unknown[]) => VNode;
