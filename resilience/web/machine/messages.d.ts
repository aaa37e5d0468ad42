// The messages of docs/protocol.md as types for the checker; nothing here runs.

export interface OpenQuestion { id: string; text: string; choices: string[]; time_ms: number; remaining_ms: number; correct?: number }
export interface Standing { participant: string; name: string; score: number }
export interface Player { participant: string; name: string; state: string }
export interface Roster { count: number; players: Player[]; leaders: Standing[] }
export interface Credentials { participant: string; token: string; generation: number; connection_no: number }
export interface Spread { spread_ms: number; step_ms: number; cap_ms: number }
export interface Timing extends Spread { heartbeat_ms: number; grace_ms: number; cleanup_ms: number }
export interface Snapshot {
  epoch: string; seq: number; phase: string; score: number; server_time_ms: number;
  roster: Roster | string; question?: OpenQuestion; answer?: number;
}

export interface Welcome { type: "joined" | "state_restored"; credentials: Credentials; timing: Timing; snapshot: Snapshot; rejoined?: boolean }
export interface ResumeRejected { type: "resume_rejected"; reason: string }
export interface Ping extends Spread { type: "ping"; id: number }
export interface ProbeReply { type: "probe_reply"; id: number }
export interface AnswerResult { type: "answer_result"; question: string; key: string; verdict: string }
export interface ScoreChanged { type: "score_changed"; question: string; points: number; score: number }
export interface QuestionOpened { type: "question_opened"; seq: number; question: OpenQuestion }
export interface QuestionRevealed { type: "question_revealed"; seq: number; question: string; correct: number }
export interface LeaderboardShown { type: "leaderboard_shown"; seq: number; leaders: Standing[] }
export interface QuizFinished { type: "quiz_finished"; seq: number; leaders: Standing[] }
export interface PresenceChanged { type: "presence_changed"; seq: number; count: number; joined: Player[]; changed: Player[] }
export interface HostStatus {
  type?: "host_status"; event: string; title: string; step: number; phase: string; question: number; questions: number; text: string;
  remaining_ms: number | null; connected: number; away: number; gone: number; answered: number; leaders: Standing[];
  choices?: string[]; correct?: number; time_ms?: number;
}
export interface Hosting { type: "hosting"; event: string; status?: HostStatus }
export interface HostResult { type: "host_result"; action: string; verdict: string; step: number; rule?: string }
export interface ErrorMessage { type: "error"; code: string; field: string; rule: string }

export type SequencedMessage = QuestionOpened | QuestionRevealed | LeaderboardShown | QuizFinished | PresenceChanged;
export type ServerMessage =
  | Welcome | ResumeRejected | Ping | ProbeReply | AnswerResult | ScoreChanged | SequencedMessage
  | Hosting | (HostStatus & { type: "host_status" }) | HostResult | ErrorMessage;

export interface Question { id: string; text: string; choices: string[]; correct: number; time_s: number }
export interface Pace { lobby?: number; reveal?: number; leaderboard?: number }
export interface QuizPlan { questions: Question[]; title?: string; pace?: Pace }

export interface Answer { type: "answer"; question: string; choice: number; key: string }
export interface HostCommand { type: "host_command"; action: string; step: number }
export type ClientMessage =
  | Answer | HostCommand
  | { type: "join"; event: string; name: string; instance: string; accepts_deflate?: boolean; attempt: number }
  | { type: "resume"; event: string; token: string; participant: string; accepts_deflate?: boolean; attempt: number }
  | { type: "token_stored"; generation: number }
  | { type: "pong"; id: number }
  | { type: "probe"; id: number }
  | { type: "leave" }
  | { type: "host"; event: string; key: string }
  | { type: "create_event"; plan: QuizPlan };

export interface LogRecord {
  effect: "record"; kind: string; t: number; session_id?: string; connection_no?: number; seq?: number; attempt?: number;
  outcome?: string; cause?: string; value?: number; ref?: string; detail?: string;
}
export type Effect =
  | LogRecord
  | { effect: "open"; dial: number; attempt: number }
  | { effect: "send"; message: ClientMessage }
  | { effect: "abort"; dial: number }
  | { effect: "close"; dial: number }
  | { effect: "deliver"; message: ServerMessage };

export interface Dismissal { code: number | null; status: number | null; reason: string }
export type ClientState = "idle" | "connecting" | "joining" | "open" | "backing_off" | "gave_up" | "closed";
export type Draw = (purpose: string, incident: number, attempt: number) => number;
