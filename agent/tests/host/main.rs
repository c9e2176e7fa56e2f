//! The host module on the real kernel: each test makes a host and guests of its own as network namespaces. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at what should not be")]

mod crowd;
mod lab;
mod links;
mod routes;
mod threads;
mod traffic;
