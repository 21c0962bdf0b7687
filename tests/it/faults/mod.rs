//! Whatever a model server does wrong, the run ends soon with the answer or a named reason, and nothing
//! is paid for twice: the real binary against a server that does everything wrong.

mod bodies;
mod calls;
mod chain;
mod delays;
mod floods;
mod http2;
mod line;
mod messages;
mod quotas;
mod row;
mod script;
mod server;
mod statuses;
mod streams;
mod together;
mod transport;
mod visible;
