//! Which image is meant, by what a person says.

use std::fs;
use std::path::{Path, PathBuf};

use super::ImageError;
use super::output::MANIFEST;

/// The folder of an image: of that name in `images`, or itself, or the only one in `images` whose id begins so. `current` is
/// the newest. A folder that has lost its manifest is one, too: who reads it says what is wrong with it.
///
/// # Errors
/// There is none, or several.
pub fn named(images: &Path, name: &Path) -> Result<PathBuf, ImageError> {
    let (here, text) = (images.join(name), name.to_string_lossy());
    let is_image = |dir: &Path| dir.join(MANIFEST).is_file();
    let ids = ids(images);
    let fitting: Vec<_> = ids.iter().filter(|id| id.starts_with(&*text)).collect();
    if !text.is_empty() {
        if let Some(dir) = [here.as_path(), name].into_iter().find(|dir| is_image(dir)) {
            return Ok(dir.to_owned());
        }
        if let [id] = fitting[..] {
            return Ok(images.join(id));
        }
        if let Some(dir) = [name, here.as_path()].into_iter().find(|dir| dir.is_dir()) {
            return Ok(dir.to_owned());
        }
    }
    let hint = match (&fitting[..], &ids[..]) {
        (_, []) => "there are none; `chatimg build` makes one".to_owned(),
        ([], ids) => format!("there are: {}", ids.join(", ")),
        (fitting, _) => {
            let fitting: Vec<_> = fitting.iter().map(|id| id.as_str()).collect();
            format!("it could be: {}", fitting.join(", "))
        }
    };
    Err(ImageError::Unknown { name: text.into_owned(), images: images.to_owned(), hint })
}

/// All ids, in order.
fn ids(images: &Path) -> Vec<String> {
    let entries = fs::read_dir(images).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_image = |id: &String| {
        // What is being built begins with a dot.
        id != "current" && !id.starts_with('.') && images.join(id).join(MANIFEST).is_file()
    };
    let mut ids: Vec<_> = names.filter(is_image).collect();
    ids.sort();
    ids
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_image_is_meant_by_its_id_or_the_beginning_of_it_or_its_folder() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (images, stick) = (dir.path().join("images"), dir.path().join("stick"));
        let built = ["31a0", "31b0", "4c00"].map(|id| images.join(id));
        for image in built.iter().chain([&stick]) {
            fs::create_dir_all(image).expect("folder");
            fs::write(image.join(MANIFEST), "{}").expect("write");
        }
        symlink("4c00", images.join("current")).expect("link");
        fs::create_dir(images.join(".building-x")).expect("folder");
        fs::write(images.join(".building-x").join(MANIFEST), "{}").expect("write");
        let meant = |name: &str| named(&images, Path::new(name));
        for (name, expected) in [
            ("31a0", "images/31a0"),
            ("31b", "images/31b0"),
            ("4", "images/4c00"),
            ("current", "images/current"),
        ] {
            assert_eq!(meant(name).expect(name), dir.path().join(expected));
        }
        let path = stick.to_str().expect("UTF-8");
        assert_eq!(meant(path).expect("a folder"), stick);
        for (name, hint) in [
            ("31", "it could be: 31a0, 31b0"),
            ("", "it could be: 31a0, 31b0, 4c00"),
            ("5", "there are: 31a0, 31b0, 4c00"),
            ("/nowhere", "there are: 31a0, 31b0, 4c00"),
        ] {
            let error = meant(name).expect_err(name).to_string();
            assert!(error.contains(&format!("no image '{name}'")), "{error}");
            assert!(error.ends_with(hint), "{error}");
        }
        // What is damaged can still be named, to be told what is wrong with it.
        for image in [&images.join("31a0"), &stick] {
            fs::remove_file(image.join(MANIFEST)).expect("remove");
        }
        assert_eq!(meant("31a0").expect("a folder"), images.join("31a0"));
        assert_eq!(meant(path).expect("a folder"), stick);
        let error = named(&dir.path().join("none"), Path::new("31a0")).expect_err("none");
        assert!(error.to_string().ends_with("`chatimg build` makes one"), "{error}");
    }
}
