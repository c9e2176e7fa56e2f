//! DHCP for IPv6 (RFC 8415), as far as one address of a link goes (IA_NA): pure, as its elder.

pub mod client;
pub mod lease;
pub mod message;

#[cfg(test)]
mod tests;
