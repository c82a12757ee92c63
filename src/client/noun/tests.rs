use serde_json::json;

use super::*;
use crate::client::testing;

const THING: Noun = Noun {
    name: "thing",
    service: "models",
    collection: "things",
    columns: &[Column("NAME", Cell::Text("/name"))],
    change: Change::Patch(&[]),
    required: &[(&["/colour"], "--colour COLOUR")],
    first: "nimgate thing create NAME",
    next: |_| "",
};

#[derive(Default)]
struct Coloured(Option<String>);

impl Fields for Coloured {
    fn write(&self, body: &mut Body) {
        body.text("colour", &self.0);
    }
}

fn red() -> Coloured {
    Coloured(Some("red".into()))
}

fn from_file(text: &str) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("thing.yaml");
    std::fs::write(&file, text).unwrap();
    (folder, Source { file: Some(file) })
}

#[test]
fn a_new_thing_takes_its_file_and_the_flags_over_it() {
    let (_folder, source) = from_file("name: a\ncolour: blue\nsize: 3\n");
    let (name, body) = THING.new_body(None, &source, &Coloured::default()).unwrap();
    assert_eq!((name.as_str(), body.json()), ("a", json!({"name": "a", "colour": "blue", "size": 3})));
    let (name, body) = THING.new_body(Some("b".into()), &source, &red()).unwrap();
    assert_eq!((name.as_str(), body.json()), ("b", json!({"name": "b", "colour": "red", "size": 3})));
}

#[test]
fn what_is_missing_is_wrong_usage_and_named() {
    let error = THING.new_body(Some("a".into()), &Source::default(), &Coloured::default()).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().contains("--colour COLOUR")), (2, true), "{error}");
    let (_folder, source) = from_file("colour: blue");
    let error = THING.new_body(None, &source, &red()).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().contains("has no name")), (2, true), "{error}");
}

#[tokio::test]
async fn a_thing_that_is_there_is_taken_when_that_is_fine() {
    let answers = |line: &str, _| match line.starts_with("POST") {
        true => testing::json(409, r#"{"detail":"thing a already exists"}"#),
        false => testing::json(200, r#"{"name":"a","colour":"blue"}"#),
    };
    let (api, _) = testing::gateway(answers).await;
    let body = Body::default();
    let (value, done) = THING.post(&api, "a", &body, true).await.unwrap();
    assert_eq!((value["colour"].as_str(), done), (Some("blue"), Done::Found));
    let error = THING.post(&api, "a", &body, false).await.unwrap_err().to_string();
    assert!(error.contains("nimgate thing update a"), "{error}");
}

#[tokio::test]
async fn a_patch_sends_only_what_was_given() {
    let (api, asked) = testing::gateway(|_, _| testing::json(200, r#"{"name":"a"}"#)).await;
    THING.replace(&api, "a", &Source::default(), &red()).await.unwrap();
    let asked = asked.lock().unwrap();
    let expected =
        ("PATCH /apis/models/v2/workspaces/default/things/a".to_owned(), r#"{"colour":"red"}"#.to_owned());
    assert_eq!(*asked, [expected]);
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_wrong_usage() {
    let (api, asked) = testing::gateway(|_, _| testing::json(200, "{}")).await;
    let error = THING.replace(&api, "a", &Source::default(), &Coloured::default()).await.unwrap_err();
    assert_eq!((error.exit_code(), asked.lock().unwrap().len()), (2, 0), "{error}");
}

#[tokio::test]
async fn an_unknown_name_points_to_the_list_and_an_unknown_workspace_to_its_making() {
    let (api, _) = testing::gateway(|_, nth| match nth {
        0 => testing::json(404, r#"{"detail":"thing x not found"}"#),
        _ => testing::json(404, r#"{"detail":"Workspace 'w' not found"}"#),
    })
    .await;
    let error = THING.fetch(&api, "x").await.unwrap_err().to_string();
    assert!(error.contains("nimgate thing list"), "{error}");
    let error = THING.fetch(&api, "x").await.unwrap_err().to_string();
    assert!(error.contains("nimgate workspace create w"), "{error}");
}

#[tokio::test]
async fn lists_are_read_to_their_last_page() {
    let (api, asked) = testing::gateway(|_, nth| {
        testing::json(200, &format!(r#"{{"data":[{{"name":"p{nth}"}}],"pagination":{{"total_pages":2}}}}"#))
    })
    .await;
    let path = THING.all(&api.clone().of_all_workspaces());
    assert_eq!(api.all(&path, "&sort=name").await.unwrap().len(), 2);
    let expected = "GET /apis/models/v2/workspaces/-/things?page=2&page_size=100&sort=name";
    assert_eq!(asked.lock().unwrap()[1].0, expected);
}
