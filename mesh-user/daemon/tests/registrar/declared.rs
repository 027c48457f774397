//! What stands in the manifest directory belongs to it: the API does not change it, and it goes when its manifest goes.

use mesh_core::{
    api::Action,
    model::{Manifest, group::Org},
    registry::{Author, Command, Declaration, RefusalCode, Registry},
};
use meshd::{
    registrar::{Registrar, Rejection},
    store::RedbStore,
};

use crate::{assert_sound, create_group, create_peer, member, registrar};

const GROUP: &str = "
apiVersion: mesh/v1
kind: NetworkGroup
metadata: { name: shop }
spec: { description: d, members: [app_web, postgresql_db] }
";
const RULE: &str = "
apiVersion: mesh/v1
kind: AccessRule
metadata: { name: web-to-db }
spec: { group: shop, from: app_web, to: postgresql_db, traffic: tcp/5432 }
";

fn declarations(texts: &[&str]) -> Vec<Declaration> {
    let manifest =
        |(number, text): (usize, &&str)| Manifest { file: format!("{number}.yaml"), text: (*text).to_owned() };
    let manifests: Vec<_> = texts.iter().enumerate().map(manifest).collect();
    Declaration::read_all(&manifests, &Org::default()).unwrap()
}

async fn declare(registrar: &Registrar, texts: &[&str]) -> Result<Vec<Action>, Rejection> {
    let applied = registrar.declare(Author::File, &declarations(texts), true, false).await?;
    Ok(applied.into_iter().map(|object| object.action).filter(|action| *action != Action::Unchanged).collect())
}

fn now(registrar: &Registrar) -> Registry {
    Registry::clone(&registrar.registry().borrow())
}

/// NG-50: each object has one source of truth.
#[tokio::test]
async fn the_api_does_not_change_what_a_file_says() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&directory.path().join("store.redb")).unwrap();
    let registrar = registrar(&store).await;
    declare(&registrar, &[GROUP, RULE]).await.unwrap();
    let registry = now(&registrar);
    let group = registry.groups.values().next().unwrap().clone();
    let id = group.id().clone();
    let (peer, rule) = (create_peer(&id, "mine", [3; 32]), group.rules.keys().next().unwrap().clone());
    let commands = [
        Command::DeleteGroup { group: id.clone() },
        Command::UpdateGroup { group: id.clone(), description: Some(String::new()), tags: None, default_access: None },
        Command::Unlink { group: id.clone(), member: "app_web".parse().unwrap() },
        Command::DeleteRule { group: id.clone(), rule },
    ];
    for command in commands {
        match registrar.execute(Author::Api, command.clone()).await {
            Err(Rejection::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::ManagedByFile, "{command:?}"),
            other => panic!("{command:?}: {other:?}"),
        }
    }
    assert_eq!(now(&registrar), registry, "nothing changed");
    // What nobody declares is the API's.
    registrar.execute(Author::Api, peer).await.unwrap();
    registrar.execute(Author::Api, Command::Link { group: id.clone(), member: member("app_more") }).await.unwrap();
    assert_eq!(declare(&registrar, &[GROUP, RULE]).await.unwrap(), [], "and stays");
    let group = now(&registrar).groups[&id].clone();
    assert_eq!((group.members.len(), group.peers.len()), (4, 1));
    assert_sound_but_rules(&store, &registrar).await;
}

#[tokio::test]
async fn what_is_gone_from_the_directory_is_gone_from_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&directory.path().join("store.redb")).unwrap();
    let registrar = registrar(&store).await;
    registrar.execute(Author::Api, create_group("other")).await.unwrap();
    declare(&registrar, &[GROUP, RULE]).await.unwrap();
    let revision = now(&registrar).revision;
    assert_eq!(declare(&registrar, &[GROUP, RULE]).await.unwrap(), []);
    assert_eq!(now(&registrar).revision, revision, "a repeat writes nothing");

    let dry = registrar.declare(Author::File, &[], true, true).await.unwrap();
    assert!(dry.iter().all(|object| object.action == Action::Deleted) && !dry.is_empty());
    assert_eq!(now(&registrar).revision, revision, "a dry run writes nothing");

    assert_eq!(declare(&registrar, &[GROUP]).await.unwrap(), [Action::Deleted]);
    assert!(now(&registrar).groups.values().all(|group| group.rules.is_empty()));
    declare(&registrar, &[]).await.unwrap();
    let labels: Vec<_> = now(&registrar).groups.values().map(|group| group.group.label.to_string()).collect();
    assert_eq!(labels, ["other"]);
    assert_sound(&store, &now(&registrar)).await;
}

#[tokio::test]
async fn with_one_problem_nothing_is_declared() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&directory.path().join("store.redb")).unwrap();
    let registrar = registrar(&store).await;
    registrar.execute(Author::Api, create_group("shop")).await.unwrap();
    let registry = now(&registrar);
    let free = GROUP.replace("shop", "free");
    let refused = declare(&registrar, &[&free, GROUP]).await.unwrap_err().to_string();
    assert!(refused.contains("1.yaml") && refused.contains("was made through the API"), "{refused}");
    assert_eq!(now(&registrar), registry);
}

async fn assert_sound_but_rules(store: &RedbStore, registrar: &Registrar) {
    let registry = now(registrar);
    let again = crate::registrar(store).await;
    assert_eq!(now(&again), registry, "the store has what is shown");
}
