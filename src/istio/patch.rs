//! JSON Patch operations for the parts of Istio objects that are ours, and their guards.
//!
//! `add` is used where a value may or may not be there: RFC 6902 lets it replace a member of an object, and so a
//! key that somebody removed a moment ago does not fail a write that gives traffic back.

use json_patch::jsonptr::{PointerBuf, Token};
use json_patch::{AddOperation, PatchOperation, RemoveOperation, TestOperation};
use kube::core::ObjectMeta;
use serde_json::Value;

/// A JSON Pointer; tokens are escaped here and nowhere else.
pub(super) fn pointer<'t>(tokens: impl IntoIterator<Item = Token<'t>>) -> PointerBuf {
    PointerBuf::from_tokens(tokens)
}

/// `base`, and below it `tokens`.
pub(super) fn below<'t>(base: &PointerBuf, tokens: impl IntoIterator<Item = &'t str>) -> PointerBuf {
    let mut path = base.clone();
    for token in tokens {
        path.push_back(Token::new(token));
    }
    path
}

/// Fails the patch unless `path` holds exactly `value`.
pub(super) fn test(path: PointerBuf, value: impl Into<Value>) -> PatchOperation {
    PatchOperation::Test(TestOperation {
        path,
        value: value.into(),
    })
}

/// Sets the object member at `path`, there or not.
pub(super) fn set(path: PointerBuf, value: impl Into<Value>) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path,
        value: value.into(),
    })
}

/// Removes the object member at `path`; the patch fails where there is none.
pub(super) fn remove(path: PointerBuf) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path })
}

/// Fails the patch unless the object is the very version that was read. An object without a resource version,
/// which no server sends, makes a guard that no server lets pass.
pub(super) fn same_version(metadata: &ObjectMeta) -> PatchOperation {
    let version = metadata
        .resource_version
        .clone()
        .map_or(Value::Null, Value::String);
    test(pointer(["metadata", "resourceVersion"].map(Token::new)), version)
}
