//! Stories of a whole host: an agent, guests, a switch, and what an operator sees of them. Through nothing but what a user
//! has: the client and pwctl.

#![allow(clippy::panic, clippy::expect_used, reason = "a story fails by panicking")]

mod agent_life;
mod announced;
mod ask;
mod bridge_vlans;
mod containers;
mod defect;
mod dhcp;
mod dhcp_kinds;
mod direct;
mod direct_hardware;
mod disk;
mod docker_door;
mod docker_down;
mod doctor;
mod drift;
mod drift_docker;
mod drift_ovs;
mod duplicates;
mod faulty_kinds;
mod fleet;
mod fleet_drift;
mod fleet_scene;
mod follow;
mod guests;
mod host_reach;
mod ipv6_auto;
mod labels;
mod linux_bridge;
mod lost_records;
mod macvlan;
mod measured;
mod not_ours;
mod one_answer;
mod other_kinds;
mod ovs_down;
mod ovs_ports;
mod pipework;
mod power_cut;
mod ptp;
mod pwctl;
mod refused_request;
mod refused_step;
mod rogue_router;
mod runtimes;
mod scene;
mod stopping;
mod sudden_death;
mod sudden_death_call;
mod traffic;
mod vlans;
mod waiting;
mod waiting_inside;
mod watching;
