//! What the machine is called, and when that is written into the application's root.

use super::Machine;
use crate::net::names::Names;

#[derive(Debug)]
pub(super) struct Naming {
    /// By the machine's user data, whatever the network says.
    given: Option<String>,
    /// Where no lease tells a name.
    otherwise: String,
    renamed: bool,
    written: Option<Names>,
}

impl Naming {
    pub(super) fn new(otherwise: String) -> Self {
        Naming { given: None, otherwise, renamed: false, written: None }
    }
}

impl Machine {
    /// Names the machine: whatever the network says, or only where that says nothing.
    pub fn rename(&mut self, hostname: String, is_final: bool) {
        let place = if is_final { self.naming.given.insert(String::new()) } else { &mut self.naming.otherwise };
        *place = hostname;
        self.naming.renamed = true;
    }

    /// The machine's names, by its leases.
    #[must_use]
    pub fn names(&self) -> Names {
        let Naming { given, otherwise, .. } = &self.naming;
        let told = Names::of(&self.network.names(), otherwise);
        match given {
            Some(given) => told.under(given),
            None => told,
        }
    }

    /// The names as they are now, for the child that writes them first and becomes the application.
    pub fn names_to_write(&mut self) -> Names {
        self.network.take_change();
        self.naming.renamed = false;
        let names = self.names();
        self.naming.written = Some(names.clone());
        names
    }

    /// Writes the names if leases have changed them: a renewal that changes nothing must not undo what the application
    /// wrote into its files. A change waits until the child that writes them first is done.
    pub(super) fn refresh_names(&mut self) {
        let Some(root) = self.root.as_ref().filter(|_| self.children.is_watched() && self.errand.is_none()) else {
            return;
        };
        if self.network.take_change() | std::mem::take(&mut self.naming.renamed) {
            let names = Some(self.names());
            if names != self.naming.written {
                names.iter().for_each(|names| names.apply(root));
                self.naming.written = names;
            }
        }
    }
}
