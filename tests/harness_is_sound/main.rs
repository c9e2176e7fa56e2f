//! What stories rely on: the lab joins hosts, tells apart what gets through, and leaves nothing.

mod cleaning;
mod joining;
mod watching;
