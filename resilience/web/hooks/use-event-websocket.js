/**
 * The hook `useEventWebSocket`: a participant's connection to an event, with everything that keeps it alive.
 *
 * It answers pings, restores the session after a loss or a reload, keeps unsent answers, and closes gracefully.
 */

import { now } from "../client/platform.js";
import { ParticipantSession } from "../client/participant-session.js";
import { useSession, useTicks } from "./use-subscribed.js";

/** @import { QuizSession, Preset } from "../client/session.js" */
/** @import { ReconnectionState } from "./use-reconnection.js" */

/** @typedef {ReconnectionState & {retryNow: () => void, status: string, isOffline: boolean, lostAt: number | null}} SessionReconnection */

/** What `ReconnectionStatus` shows of a session; renders again while a countdown runs. @param {QuizSession} session @returns {SessionReconnection} */
export function useSessionReconnection(session) {
  const { status, isReconnecting, hasGivenUp, attemptCount, dueAt, lostAt, isOffline } = session.connection;
  useTicks(isReconnecting);
  const waiting = dueAt === null ? null : Math.max(0, Math.ceil(dueAt - now()));
  return {
    status,
    isReconnecting,
    hasGivenUp,
    attemptCount,
    nextAttemptSeconds: isReconnecting && status !== "backing_off" ? 0 : waiting,
    isOffline,
    lostAt,
    reset: () => session.reset(),
    retryNow: () => session.retryNow(),
  };
}

/**
 * @param {{event: string, preset?: Preset, url?: string}} options
 * @returns {{session: ParticipantSession, reconnection: SessionReconnection}}
 */
export function useEventWebSocket(options) {
  const session = useSession(() => new ParticipantSession(options));
  return { session, reconnection: useSessionReconnection(session) };
}
