//! Content of messages: a string, or a list of parts.

use std::borrow::Cow;

use proto_shared::backend::ChatTraits;
use smallvec::{SmallVec, smallvec};

use super::error::{BadRequest, Problem, TypeNamed};
use super::text::{Json, Text};
use super::wire::{Node, Object, members};

/// Between the texts of several parts that become one string: what servers put there themselves.
const BETWEEN_TEXTS: &str = "\\n";

/// How closely chat servers look at images; others are left out, since some servers refuse them.
const DETAILS: [&str; 3] = ["auto", "low", "high"];

/// What a message says, part by part.
pub type Parts<'a> = SmallVec<[Part<'a>; 2]>;

/// A part of a user's message or of a tool's output.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    Text(Text<'a>),
    Image {
        url: Text<'a>,
        detail: Option<Text<'a>>,
    },
    Video {
        url: Text<'a>,
    },
    File {
        name: Option<Text<'a>>,
        data: Text<'a>,
    },
    /// The object that chat completions know under the same name.
    Audio(&'a str),
}

members!(PartMembers {
    r#type,
    text,
    refusal,
    image_url,
    detail,
    file_id,
    file_url,
    file_data,
    filename,
    input_audio,
    video_url,
    video,
});

members!(Link { url, detail });

/// A string or a list of parts.
pub fn parts<'a>(content: Node<'a, '_>, traits: &ChatTraits) -> Result<Parts<'a>, BadRequest> {
    if content.is_text() {
        return Ok(smallvec![Part::Text(content.text()?)]);
    }
    let mut parts = Parts::new();
    list(content, |found| {
        parts.push(part(found, traits)?);
        Ok(())
    })?;
    Ok(parts)
}

/// Shows the texts of content that can be nothing but text. An assistant's refusals are part of what it said.
pub fn texts<'a>(content: Node<'a, '_>, mut say: impl FnMut(Text<'a>)) -> Result<(), BadRequest> {
    if content.is_text() {
        say(content.text()?);
        return Ok(());
    }
    list(content, |part| {
        let kind = part.need("type", part.has.r#type)?;
        say(match named(kind)?.as_ref() {
            "input_text" | "output_text" | "text" => part.need_text("text", part.has.text)?,
            "refusal" => part.need_text("refusal", part.has.refusal)?,
            other => return Err(kind.bad(Problem::UnknownTextPart(TypeNamed::new(other)))),
        });
        Ok(())
    })
}

fn list<'a>(
    content: Node<'a, '_>,
    visit: impl FnMut(&Object<'_, PartMembers<'a>>) -> Result<(), BadRequest>,
) -> Result<(), BadRequest> {
    if !content.is_list() {
        return Err(content.bad(Problem::MustBe("a string or a list of parts")));
    }
    content.objects(visit)
}

/// What the `type` of something says.
pub fn named<'a>(kind: Node<'a, '_>) -> Result<Cow<'a, str>, BadRequest> {
    kind.text()?.read().ok_or_else(|| kind.bad(Problem::HalfCharacter))
}

fn part<'a>(part: &Object<'_, PartMembers<'a>>, traits: &ChatTraits) -> Result<Part<'a>, BadRequest> {
    let kind = part.need("type", part.has.r#type)?;
    match named(kind)?.as_ref() {
        "input_text" | "output_text" | "text" => Ok(Part::Text(part.need_text("text", part.has.text)?)),
        "input_image" | "image_url" => image(part),
        "input_video" | "video_url" => {
            let video = part.has.video_url.or(part.has.video);
            let name = if part.has.video_url.is_some() { "video_url" } else { "video" };
            let (url, _) = link(part.need(name, video)?)?;
            Ok(Part::Video { url })
        }
        "input_file" => file(part, traits),
        "input_audio" if !traits.takes_audio => {
            Err(kind.bad(Problem::NotTaken("send what was said as text")))
        }
        "input_audio" => Ok(Part::Audio(part.need("input_audio", part.has.input_audio)?.braces()?)),
        other => Err(kind.bad(Problem::UnknownType(TypeNamed::new(other)))),
    }
}

fn image<'a>(part: &Object<'_, PartMembers<'a>>) -> Result<Part<'a>, BadRequest> {
    if let (None, Some(id)) = (part.has.image_url, part.get("file_id", part.has.file_id)) {
        return Err(id.bad(Problem::NotTaken("send the image as `image_url`, a data URI or an address")));
    }
    let (url, detail) = link(part.need("image_url", part.has.image_url)?)?;
    let detail = part.text_of("detail", part.has.detail)?.or(detail);
    let known = |detail: &Text<'_>| DETAILS.contains(&detail.spelt());
    Ok(Part::Image { url, detail: detail.filter(known) })
}

fn file<'a>(part: &Object<'_, PartMembers<'a>>, traits: &ChatTraits) -> Result<Part<'a>, BadRequest> {
    if !traits.takes_files {
        return Err(part.bad(Problem::NotTaken("send the file's text instead")));
    }
    let stored = part.get("file_id", part.has.file_id).or_else(|| part.get("file_url", part.has.file_url));
    if let (None, Some(stored)) = (part.has.file_data, stored) {
        return Err(stored.bad(Problem::NotTaken("send the file as `file_data`")));
    }
    let data = part.need_text("file_data", part.has.file_data)?;
    Ok(Part::File { name: part.text_of("filename", part.has.filename)?, data })
}

/// An address as a string, or as an object that may say more.
fn link<'a>(node: Node<'a, '_>) -> Result<(Text<'a>, Option<Text<'a>>), BadRequest> {
    if node.is_object() {
        let link = node.object::<Link<'a>>()?;
        let url = filled(link.need("url", link.has.url)?)?;
        return Ok((url, link.text_of("detail", link.has.detail)?));
    }
    Ok((filled(node)?, None))
}

/// A string that says something.
pub fn filled<'a>(node: Node<'a, '_>) -> Result<Text<'a>, BadRequest> {
    let text = node.text()?;
    if text.is_empty() { Err(node.bad(Problem::Empty)) } else { Ok(text) }
}

/// A name or an id: read, and not empty.
pub fn name<'a>(node: Node<'a, '_>) -> Result<Cow<'a, str>, BadRequest> {
    filled(node)?.read().ok_or_else(|| node.bad(Problem::HalfCharacter))
}

/// Writes parts as the content of a message: text alone is one string, which every server takes.
pub fn write(out: &mut Json, parts: &[Part<'_>]) {
    if parts.iter().all(|part| matches!(part, Part::Text(_))) {
        write_texts(out, parts);
        return;
    }
    out.put("[");
    parts.iter().for_each(|part| write_part(out, *part));
    out.put("]");
}

/// Writes the texts among parts as one string.
pub fn write_texts(out: &mut Json, parts: &[Part<'_>]) {
    out.put("\"");
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    for (index, text) in texts.enumerate() {
        out.put(if index == 0 { "" } else { BETWEEN_TEXTS }).put(text.spelt());
    }
    out.put("\"");
}

pub fn write_part(out: &mut Json, part: Part<'_>) {
    out.next().put("{\"type\":");
    match part {
        Part::Text(text) => out.put("\"text\",\"text\":").text(text),
        Part::Image { url, detail } => {
            out.put("\"image_url\",\"image_url\":{\"url\":").text(url);
            if let Some(detail) = detail {
                out.key("detail").text(detail);
            }
            out.put("}")
        }
        Part::Video { url } => out.put("\"video_url\",\"video_url\":{\"url\":").text(url).put("}"),
        Part::File { name, data } => {
            out.put("\"file\",\"file\":{");
            if let Some(name) = name {
                out.key("filename").text(name);
            }
            out.key("file_data").text(data).put("}")
        }
        Part::Audio(audio) => out.put("\"input_audio\",\"input_audio\":").put(audio),
    };
    out.put("}");
}
