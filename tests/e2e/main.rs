//! Stories of a whole host: an agent, guests, a switch, and what an operator sees of them. Through nothing but what a user
//! has: the client and pwctl.

mod linux_bridge;
mod scene;
