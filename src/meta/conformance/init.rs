//! Making a volume and changing its setting.

use std::sync::Arc;

use super::{Home, at, get, node, put};
use crate::port::{Change, Engine, Get, Got, NewVolume};
use crate::types::{Attr, DirStat, Ino, Kind, Usage};

pub(super) fn new_volume() -> NewVolume {
    let root = Attr {
        parent: Ino::ROOT,
        ..Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, at(1_700_000_000, 0))
    };
    NewVolume {
        setting: "{\n\"Name\": \"vol\"\n}".to_owned(),
        root,
        trash: Some(Attr { mode: 0o555, ..root }),
    }
}

impl Home {
    /// The first client, with a volume in its database.
    pub(super) async fn volume(&self) -> &Arc<dyn Engine> {
        self.engine.create_volume(&new_volume()).await.expect("an empty database");
        &self.engine
    }
}

pub(super) async fn an_empty_database_has_no_setting(home: &Home) {
    assert_eq!(home.engine.setting().await.expect("answers"), None);
}

pub(super) async fn a_new_volume_has_its_root_and_trash(home: &Home) {
    let engine = home.volume().await;
    let volume = new_volume();
    for client in [engine, &home.other] {
        assert_eq!(client.setting().await.expect("answers"), Some(volume.setting.clone()));
        assert_eq!(node(&**client, Ino::ROOT).await, Some(volume.root));
        assert_eq!(node(&**client, Ino::TRASH).await, volume.trash);
        assert_eq!(client.usage().await.expect("answers"), Usage::default());
    }
}

pub(super) async fn a_volume_is_not_made_twice(home: &Home) {
    let engine = home.volume().await;
    let again = NewVolume { setting: "{}".to_owned(), ..new_volume() };
    assert!(engine.create_volume(&again).await.is_err());
    assert_eq!(engine.setting().await.expect("answers"), Some(new_volume().setting));
}

pub(super) async fn a_changed_setting_is_read_back_and_brings_the_trash(home: &Home) {
    let volume = NewVolume { trash: None, ..new_volume() };
    let engine = &home.engine;
    engine.create_volume(&volume).await.expect("an empty database");
    assert_eq!(node(&**engine, Ino::TRASH).await, None);
    let trash = Attr { mode: 0o555, ..volume.root };
    engine.update_setting("{\"a\": 1}", Some(trash), false).await.expect("updates");
    assert_eq!(home.other.setting().await.expect("answers").as_deref(), Some("{\"a\": 1}"));
    assert_eq!(node(&*home.other, Ino::TRASH).await, Some(trash));
    // An existing trash root stays as it is.
    engine.update_setting("{\"a\": 2}", Some(volume.root), false).await.expect("updates");
    assert_eq!(node(&**engine, Ino::TRASH).await, Some(trash));
}

pub(super) async fn statistics_go_when_the_setting_says_so(home: &Home) {
    let engine = home.volume().await;
    let stat = DirStat { length: 1, space: 4096, inodes: 1 };
    put(&**engine, &[Change::SetDirStat { ino: Ino(5), stat }]).await;
    engine.update_setting("{}", None, false).await.expect("updates");
    assert_eq!(get(&**engine, Get::DirStat { ino: Ino(5) }).await, Got::DirStat(Some(stat)));
    engine.update_setting("{}", None, true).await.expect("updates");
    assert_eq!(get(&**engine, Get::DirStat { ino: Ino(5) }).await, Got::DirStat(None));
}

pub(super) async fn a_destroyed_volume_leaves_an_empty_database(home: &Home) {
    let engine = home.volume().await;
    put(&**engine, &[Change::InsertSustained { sid: 3, ino: Ino(5) }]).await;
    engine.destroy_volume().await.expect("destroys");
    assert_eq!(engine.setting().await.expect("answers"), None);
    assert_eq!(home.other.setting().await.expect("answers"), None);
    // And another may be made in its place, with nothing of the old one.
    engine.create_volume(&new_volume()).await.expect("an empty database");
    assert_eq!(super::scan(&*home.other, crate::port::Scan::Sustained { sid: None }).await, []);
    assert_eq!(super::scan(&**engine, crate::port::Scan::Nodes).await.len(), 2);
}
