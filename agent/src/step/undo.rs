//! A plan taken back.

use super::Step;

/// The undo of a plan: each step's undo, in reverse.
pub fn undo(plan: &[Step]) -> Vec<Step> {
    let replaces_a_route = plan.iter().any(|step| matches!(step, Step::SetAsideRoute(_)));
    let is_needed =
        |step: &Step| replaces_a_route || !matches!(step, Step::RemoveRoute(route) if route.is_on_link());
    plan.iter().rev().filter_map(Step::undo).filter(is_needed).collect()
}
