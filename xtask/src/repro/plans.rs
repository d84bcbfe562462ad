//! Which pages are there?

use super::plan::Plan;
use super::{
    fig2, fig4, fig5, init, networks, networks_fidelity, table1, table1a, table3, table4, table5,
    variants,
};

/// Every page, in the order of the paper; what the project adds comes last.
pub(super) const PLANS: &[&Plan] = &[
    &table1a::PLAN,
    &table1::PLAN,
    &fig2::PLAN,
    &fig4::PLAN,
    &fig5::PLAN,
    &table3::PLAN,
    &table4::PLAN,
    &table5::PLAN,
    &init::PLAN,
    &variants::PLAN,
    &networks::PLAN,
    &networks_fidelity::PLAN,
];
