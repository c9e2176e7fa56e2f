//! What waits until frames pass: addresses that others are asked for, and all that comes after those.

use std::net::IpAddr;

use pipewright_api::spec::{Addressing, DuplicateCheck};

use super::{Link, dhcp};
use crate::step::{Awaited, AwaitedAddress, Ends, Expected, Ipv6Setting, Probe, Step};

impl Link<'_> {
    /// What comes last, once frames pass: what was late, and the neighbours are told.
    pub(super) fn finish(&self, ends: Ends) -> Vec<Step> {
        let mut steps = self.late(ends);
        let addresses = self.spec.addressing.addresses();
        if !addresses.is_empty() {
            let addresses = addresses.iter().map(|address| address.addr()).collect();
            steps.push(Step::Announce { ifname: self.spec.ifname.clone(), mac: self.mac, addresses });
        }
        steps
    }

    /// Addresses that others are asked for first, and those of a DHCP server or of routers, with their routes.
    pub(super) fn late(&self, ends: Ends) -> Vec<Step> {
        let mut steps = if self.is_checked() { self.check() } else { Vec::new() };
        if let Addressing::Dhcp(asked) = &self.spec.addressing {
            steps.extend(dhcp::lease(self, asked));
        }
        if self.spec.slaac {
            steps.push(dhcp::await_autoconfigured(self));
        }
        if let Some(asked) = &self.spec.dhcp6 {
            if self.spec.duplicate_check != DuplicateCheck::Off {
                steps.extend(self.switch_detection_on());
            }
            steps.extend(dhcp::lease6(self, asked));
        }
        let addresses = self.spec.addressing.addresses();
        if self.is_late() {
            let routes = self.routes();
            steps.extend(self.add_routes());
            if !addresses.is_empty() || !routes.is_empty() {
                steps.push(Step::Verify(Expected { ends, addresses: addresses.to_vec(), routes }));
            }
        }
        steps
    }

    /// IPv4 addresses are asked for and then added; IPv6 ones are added, and the kernel asks for them.
    fn check(&self) -> Vec<Step> {
        let ifname = &self.spec.ifname;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for address in self.spec.addressing.addresses() {
            match address.addr() {
                IpAddr::V4(v4) => old.push(v4),
                IpAddr::V6(v6) => new.push(v6),
            }
        }
        let mut steps = Vec::new();
        if !old.is_empty() {
            let (ifname, check) = (ifname.clone(), self.spec.duplicate_check);
            steps.push(Step::ProbeAddresses(Probe { ifname, mac: self.mac, addresses: old, check }));
        }
        if !new.is_empty() {
            steps.extend(self.switch_detection_on());
        }
        let all = self.spec.addressing.addresses();
        steps.extend(all.iter().map(|&address| self.add_address(address)));
        if !new.is_empty() {
            steps.push(Step::AwaitAddresses(AwaitedAddress {
                ifname: ifname.clone(),
                what: Awaited::These(new),
            }));
        }
        steps
    }

    /// The guest may have switched off what was asked for.
    fn switch_detection_on(&self) -> [Step; 2] {
        let on = |setting| Step::SetIpv6 { ifname: self.spec.ifname.clone(), setting, value: 1 };
        [on(Ipv6Setting::AcceptDad), on(Ipv6Setting::DadTransmits)]
    }
}
