//! Who said what: so that a mistake in what a template makes is shown where it can be mended.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::document::{Cause, Place};

/// Where the value of an option comes from, or an overlay.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// Messages there say what it is.
    pub(super) place: Place<'a>,
    /// Whether the appliance says it, not an overlay or stack.
    pub(super) set: bool,
}

impl<'a> Origin<'a> {
    pub(super) fn option(overlay: &'a str, name: &'a str, place: Place<'a>, set: bool) -> Self {
        Self { place: place.of(Cause::Option { overlay, name, set }), set }
    }

    pub(super) fn overlay(name: &'a str, place: Place<'a>, set: bool) -> Self {
        Self { place: place.of(Cause::Overlay(name)), set }
    }
}

/// All of them, by the names that templates have for them: `overlays.ssh.options.port`, `overlays.ssh`.
#[derive(Clone, Default)]
pub(super) struct Origins<'a>(Rc<BTreeMap<String, Origin<'a>>>);

impl<'a> Origins<'a> {
    pub(super) fn new(all: impl IntoIterator<Item = (String, Origin<'a>)>) -> Self {
        Self(Rc::new(all.into_iter().collect()))
    }

    /// Those of what a template of `overlay` names; `names`: what it uses, what matters most first. What the appliance
    /// says comes before what it does not.
    pub(super) fn of(&self, overlay: &str, names: &[String]) -> Vec<Origin<'a>> {
        let own = format!("overlays.{}.", overlay.replace('-', "_"));
        let mut found: Vec<Origin<'a>> = Vec::new();
        for name in names {
            let whole =
                if name.starts_with("options.") { format!("{own}{name}") } else { name.clone() };
            found.extend(self.0.get(&whole));
        }
        // Options say more than that an overlay is there.
        found.sort_by_key(|origin| (!origin.set, !origin.place.is_option()));
        found
    }
}
