//! Sets the linker flags that a Node addon needs, and where the macros write the types of `npm/lib/native.d.ts`.
fn main() {
    napi_build::setup();
    if let Ok(folder) = std::env::var("OUT_DIR") {
        println!("cargo::rustc-env=NAPI_TYPE_DEF_TMP_FOLDER={folder}");
    }
}
