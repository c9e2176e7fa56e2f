//! Taking the steps that mend what differs, and the guest's default route that came in place of ours.

use std::io;
use std::sync::Arc;

use super::compare::{Difference, What};
use super::look::Opened;
use super::remedy::remedy;
use crate::engine::Engine;
use crate::engine::records::{Record, Write};
use crate::host::facts::Sought;
use crate::host::{Host, Refused};
use crate::step::{self, SavedRoute, Step};

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Mended {
    /// The record, which may know of another default route of the guest's now.
    pub(super) record: Arc<Record>,
    /// Steps were taken.
    pub(super) is_tried: bool,
    /// What was refused.
    pub(super) refused: Vec<String>,
}

impl<H: Host> Engine<H> {
    /// Takes the steps that mend what differs. The caller holds the guests' locks.
    ///
    /// # Errors
    /// What the kernel says of the guest's routes; nothing was done then.
    pub(super) async fn mend(
        &self,
        record: &Arc<Record>,
        opened: &Opened,
        found: &[Difference],
    ) -> io::Result<Mended> {
        let shared = step::needs(&record.plan).map(|shared| shared.link().clone()).collect();
        let _uses = self.locks.use_links(shared).await;
        let mut record = Arc::clone(record);
        let mut aside = Vec::new();
        for is_ipv6 in [false, true] {
            if found.iter().any(|difference| is_default(&record.plan, difference, is_ipv6)) {
                let routes = self.foreign_defaults(&record, opened, is_ipv6).await?;
                if !routes.is_empty() {
                    record = self.remember_aside(&record, &routes, is_ipv6);
                    aside.extend(routes.into_iter().map(Step::SetAsideRoute));
                }
            }
        }
        let mut steps = remedy(&record.plan, found);
        if steps.is_empty() {
            return Ok(Mended { record, is_tried: false, refused: Vec::new() });
        }
        // What stands in the way of a route goes before it, and after the link is up.
        let place = steps.iter().position(is_route).unwrap_or(steps.len());
        steps.splice(place..place, aside);
        let mut refused = Vec::new();
        let mut rest = &steps[..];
        while !rest.is_empty() {
            let Err(Refused { index, error }) = self.host.take(opened.within(), rest).await else { break };
            refused.push(error.to_string());
            rest = rest.get(index + 1..).unwrap_or_default();
        }
        Ok(Mended { record, is_tried: true, refused })
    }

    /// Default routes of the guest that ours collides with.
    async fn foreign_defaults(
        &self,
        record: &Record,
        opened: &Opened,
        is_ipv6: bool,
    ) -> io::Result<Vec<SavedRoute>> {
        let sought = Sought { ipv4_defaults: !is_ipv6, ipv6_defaults: is_ipv6, ipv6: false };
        let facts = self.kernel.guest(opened.guest(), &record.attachment.spec.ifname, None, sought).await?;
        Ok(facts.default_routes)
    }

    /// What detach puts back from now on: Docker or somebody in the guest has chosen another default route meanwhile.
    fn remember_aside(&self, record: &Record, routes: &[SavedRoute], is_ipv6: bool) -> Arc<Record> {
        let mut record = record.clone();
        replace_saved(Arc::make_mut(&mut record.plan), routes, is_ipv6);
        let record = Arc::new(record);
        if let Err(failure) = self.records.intend(&[Write::Attachment(Arc::clone(&record))]) {
            // Then detach puts back what was there at the attach.
            tracing::error!(attachment = %record.attachment.id, "{failure}");
        }
        record
    }
}

fn is_route(step: &Step) -> bool {
    matches!(step, Step::AddRoute(_) | Step::ApplyLease(_))
}

/// Whether it is the default route that is used: one in another table stands in nobody's way.
fn is_default(plan: &[Step], difference: &Difference, is_ipv6: bool) -> bool {
    let is_it = |step: &Step| match step {
        Step::AddRoute(route) => {
            let is_of_family = route.destination.addr().is_ipv6() == is_ipv6;
            is_of_family && route.details.is_none() && route.to_string() == difference.expected
        }
        _ => false,
    };
    match difference.what {
        What::DefaultRoute => plan.iter().any(is_it),
        What::Lease => !is_ipv6 && difference.expected.starts_with("default"),
        _ => false,
    }
}

/// Puts routes into a plan as those that ours replaced, instead of the ones that it knew.
fn replace_saved(plan: &mut Vec<Step>, routes: &[SavedRoute], is_ipv6: bool) {
    let is_old = |step: &Step| matches!(step, Step::SetAsideRoute(saved) if saved.is_ipv6() == is_ipv6);
    let is_default = |step: &Step| match step {
        Step::AddRoute(route) => {
            route.destination.prefix_len() == 0 && route.destination.addr().is_ipv6() == is_ipv6
        }
        _ => false,
    };
    plan.retain(|step| !is_old(step));
    match plan.iter().position(is_default) {
        Some(place) => {
            // On-link routes to the gateway come first, and undo goes backwards.
            let saved = routes.iter().cloned().map(Step::SetAsideRoute);
            let place = plan.iter().position(|step| matches!(step, Step::AddRoute(_))).unwrap_or(place);
            plan.splice(place..place, saved);
        }
        None => {
            for step in plan.iter_mut() {
                if let Step::ApplyLease(asked) = step
                    && asked.takes_default
                    && !is_ipv6
                {
                    asked.replaces = routes.to_vec();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::GuestRoute;

    fn saved(text: &str) -> SavedRoute {
        SavedRoute { text: text.to_owned(), message: "02".to_owned() }
    }

    #[test]
    fn the_guests_last_default_route_is_the_one_that_comes_back() {
        let route = |destination: &str| {
            Step::AddRoute(GuestRoute::new(destination.parse().unwrap(), None, "eth1".parse().unwrap()))
        };
        let mut plan = vec![Step::SetAsideRoute(saved("old")), route("192.0.2.1/32"), route("0.0.0.0/0")];

        replace_saved(&mut plan, &[saved("new")], false);

        assert_eq!(plan, [Step::SetAsideRoute(saved("new")), route("192.0.2.1/32"), route("0.0.0.0/0")]);
        replace_saved(&mut plan, &[saved("of IPv6")], true);
        assert_eq!(plan.len(), 3);
    }
}
