//! Network groups that stand in the manifest directory: they are declared to the store with every change of it, and what
//! is gone from the directory is gone from the store.

use mesh_core::{
    api::Action,
    model::{Problem, Problems},
    registry::{Author, Declaration},
};

use super::{Control, lines};
use crate::registrar::Rejection;

impl Control {
    /// What the manifests say of network groups, or all problems of their form.
    pub(super) fn declarations(&self) -> Result<Vec<Declaration>, Problems> {
        Declaration::read_all(&self.manifests, &self.settings.org)
    }

    /// What does not fit to what the store holds changes nothing there, and hinders nothing else: it is told, and tried
    /// again.
    pub(super) async fn declare(&mut self) {
        let declared = match self.declarations() {
            Ok(declarations) if self.settings.hub.is_some() => {
                Problems(declarations.iter().map(|declaration| self.elsewhere(declaration)).collect())
                    .or(Vec::new())
                    .map_err(Rejection::Problems)
            }
            Ok(declarations) => self.registrar.declare(Author::File, &declarations, true, false).await,
            Err(problems) => Err(Rejection::Problems(problems)),
        };
        let problems = match declared {
            Ok(applied) => {
                for object in applied.iter().filter(|object| object.action != Action::Unchanged) {
                    let action = format!("{:?}", object.action).to_lowercase();
                    tracing::info!(kind = object.kind, name = object.name, "{action} as the manifests say");
                }
                Vec::new()
            }
            Err(rejection) => lines(&rejection.to_string()),
        };
        for line in problems.iter().filter(|line| !self.undeclared.contains(line)) {
            tracing::error!("network groups of the manifests are as they were: {line}");
        }
        self.undeclared = problems;
    }

    /// Everything else in the directory is in force.
    fn elsewhere(&self, declaration: &Declaration) -> Problem {
        let hub = self.settings.hub.as_deref().unwrap_or_default();
        let message = format!("this node follows the hub {hub}, whose store has the groups");
        declaration.place.problem("", message, "put it into the manifest directory there, or use 'meshctl apply'")
    }
}
