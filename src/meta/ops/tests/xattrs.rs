use bytes::Bytes;
use juicefs_base::Errno;

use super::{Volume, refused, root, user};
use crate::request::XattrMode;
use crate::types::{Caller, Ino};

#[tokio::test]
async fn attributes_come_go_and_are_made_once() {
    let volume = Volume::new().await;
    let meta = &volume.meta;
    let ino = volume.touch(Ino::ROOT, "f").await;
    let before = volume.attr(ino).await;
    let (caller, a, value) = (root(), Bytes::from_static(b"user.a"), Bytes::from_static(b"1"));
    refused(meta.getxattr(&caller, ino, &a).await, Errno::ENODATA);
    refused(meta.setxattr(&caller, ino, &a, &value, XattrMode::Replace).await, Errno::ENODATA);
    let after = meta.setxattr(&caller, ino, &a, &value, XattrMode::Create).await.unwrap();
    assert!(after.ctime > before.ctime && after.mtime == before.mtime);
    refused(meta.setxattr(&caller, ino, &a, &value, XattrMode::Create).await, Errno::EEXIST);
    meta.setxattr(&caller, ino, &a, &Bytes::new(), XattrMode::Any).await.unwrap();
    assert_eq!(meta.getxattr(&caller, ino, &a).await.unwrap(), Bytes::new());
    assert_eq!(meta.listxattr(ino).await.unwrap(), std::slice::from_ref(&a));
    meta.removexattr(&caller, ino, &a).await.unwrap();
    refused(meta.removexattr(&caller, ino, &a).await, Errno::ENODATA);
    assert_eq!(meta.listxattr(ino).await.unwrap(), [] as [Bytes; 0]);
}

#[tokio::test]
async fn attributes_have_limits_and_owners() {
    let volume = Volume::new().await;
    let meta = &volume.meta;
    let ino = volume.touch(Ino::ROOT, "f").await;
    let set = async |caller: &Caller, ino, name: Vec<u8>, value: Vec<u8>| {
        meta.setxattr(caller, ino, &name.into(), &value.into(), XattrMode::Any).await
    };
    refused(set(&root(), ino, vec![b'n'; 256], vec![]).await, Errno::ERANGE);
    refused(set(&root(), ino, vec![], vec![]).await, Errno::EINVAL);
    refused(set(&root(), ino, b"user.a".to_vec(), vec![0; 65_537]).await, Errno::ERANGE);
    set(&root(), ino, vec![b'n'; 255], vec![0; 65_536]).await.unwrap();
    refused(set(&user(7), ino, b"user.a".to_vec(), vec![]).await, Errno::EACCES);
    refused(set(&root(), Ino::TRASH, b"user.a".to_vec(), vec![]).await, Errno::EPERM);
    refused(set(&root(), Ino(999), b"user.a".to_vec(), vec![]).await, Errno::ENOENT);
    volume.unlink(Ino::ROOT, "f").await.unwrap();
    refused(set(&root(), ino, b"user.a".to_vec(), vec![]).await, Errno::ENOENT);
    assert_eq!(meta.listxattr(ino).await.unwrap(), [] as [Bytes; 0], "they go with the node");
}
