//! The README shows the example that is compiled.

#[test]
fn the_readme_shows_the_example_word_for_word() {
    let example = include_str!("../examples/pack_and_multiply.rs");
    assert!(include_str!("../README.md").contains(example));
}
