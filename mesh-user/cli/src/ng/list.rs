//! `meshctl ng list`, and `meshctl ng` alone.

use mesh_core::api::group::GroupList;

use super::{Desk, show};
use crate::exit::Failure;

pub(super) fn run(desk: &Desk) -> Result<String, Failure> {
    let list: GroupList = desk.daemon.get(desk.url(&["networkgroups"]))?;
    desk.form.print(&list, |list| match list.network_groups.as_slice() {
        [] => format!(
            "No network groups in org {}. `meshctl ng create LABEL` makes one, `-o ORG` lists another org's.\n",
            desk.org
        ),
        groups => show::groups(groups),
    })
}
