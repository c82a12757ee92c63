//! A file as an answer: whole, a part of it, or only its head.

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sha1::{Digest, Sha1};

use super::super::reply::Reply;
use super::{missing, octets};
use crate::Registry;
use crate::domain::EntityId;
use crate::files::{self, FilePath, OpenFile, Wanted, wanted};
use crate::store::filesets::Fileset;

/// The length and the tag of a file. A range means nothing here.
pub async fn described(registry: &Registry, fileset: &Fileset, path: FilePath, headers: &HeaderMap) -> Reply {
    let opened = registry.inner.files.open_file(&fileset.id, path.clone()).await;
    let file = opened.map_err(missing(fileset, &path))?;
    let tag = tag_of(&fileset.id, &path, &file);
    if is_known(headers, &tag) {
        return Ok(unchanged(&tag));
    }
    let mut response = with_tag(octets(StatusCode::OK, Body::empty()), &tag);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(file.size));
    Ok(response)
}

/// A file, or the part of it that is asked for.
pub async fn sent(registry: &Registry, fileset: &Fileset, path: FilePath, headers: &HeaderMap) -> Reply {
    let store = &registry.inner.files;
    let permit = store.download_permit()?;
    let opened = store.open_file(&fileset.id, path.clone()).await;
    let file = opened.map_err(missing(fileset, &path))?;
    let tag = tag_of(&fileset.id, &path, &file);
    if is_known(headers, &tag) {
        return Ok(unchanged(&tag));
    }
    let size = file.size;
    // A part of another file than the one it had before is of no use to a client.
    let is_same = text(headers, &IF_RANGE).is_none_or(|known| known == tag);
    let range = wanted(text(headers, &RANGE).filter(|_| is_same), size);
    let (status, part) = match range {
        Wanted::Whole => (StatusCode::OK, (0, size)),
        Wanted::Part { start, end } => (StatusCode::PARTIAL_CONTENT, (start, end)),
        Wanted::Unsatisfiable => return Ok(unsatisfiable(&tag, size)),
    };
    let body = files::body(file, part, permit, store.idle_timeout());
    let mut response = with_tag(octets(status, body), &tag);
    let (start, end) = part;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(end - start));
    if status == StatusCode::PARTIAL_CONTENT {
        put(&mut response, CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1));
    }
    Ok(response)
}

/// A tag of 40 hexadecimal digits, quoted: the same for the same file, another for every other.
pub fn tag_of(id: &EntityId, path: &FilePath, file: &OpenFile) -> String {
    format!("\"{}\"", digest(&format!("{id}/{path}\0{}\0{}", file.stamp, file.size)))
}

/// 40 hexadecimal digits, as clients of Hugging Face expect of commits and tags.
pub fn digest(text: &str) -> String {
    Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let Some(known) = text(headers, &IF_NONE_MATCH) else { return false };
    known
        .split(',')
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

fn unchanged(tag: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    with_tag(response, tag)
}

fn unsatisfiable(tag: &str, size: u64) -> Response {
    let text = format!("the range is not in the file, which has {size} bytes");
    let body = proto_shared::ErrorBody::new(text, "invalid_request_error", "range_not_satisfiable");
    let mut response = super::super::reply::object(StatusCode::RANGE_NOT_SATISFIABLE, body);
    put(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
    with_tag(response, tag)
}

fn with_tag(mut response: Response, tag: &str) -> Response {
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    put(&mut response, ETAG, tag);
    response
}

fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
