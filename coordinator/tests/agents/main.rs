//! What becomes of a fleet when its agents answer, refuse, hang, die or lose their connections.

#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "that is how a test fails")]

mod rollout;
mod scripted;
mod status;
