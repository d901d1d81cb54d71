//! `chatimg sbom`.

use std::io::Write;
use std::path::PathBuf;

use super::CommandError;
use super::context::Context;
use crate::sbom;

/// Print what an image is made of (SBOM), for scanners
///
/// Every Debian, Python and npm package and every other input: version, digest, licence as the package states it, and what needs what.
/// Both formats lie beside the image, too: sbom.spdx.json, sbom.cdx.json.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg sbom --format spdx > sbom.json
  chatimg sbom --format cyclonedx --output sbom.cdx.json && grype sbom:sbom.cdx.json")]
pub struct Args {
    /// Its id, or the beginning of it, or its folder [default: the newest]
    image: Option<PathBuf>,
    /// SPDX 2.3 or CycloneDX 1.6, both as JSON
    #[arg(long, value_enum, default_value_t = Format::Spdx)]
    format: Format,
    /// Write it there instead of printing it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Spdx,
    Cyclonedx,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let name = match args.format {
        Format::Spdx => sbom::SPDX,
        Format::Cyclonedx => sbom::CYCLONEDX,
    };
    let path = context.image_dir(args.image.as_deref())?.join(name);
    let text = std::fs::read(&path).map_err(|error| {
        format!(
            "reading {}: {error}; if an older chatimg built the image, remove its folder and run `chatimg build`",
            path.display()
        )
    })?;
    match &args.output {
        Some(output) => std::fs::write(output, &text)
            .map_err(|error| format!("writing {}: {error}", output.display()))?,
        // Whoever reads it may have seen enough.
        None => _ = std::io::stdout().lock().write_all(&text),
    }
    Ok(())
}
