//! The control protocol: any bytes as a request line or as an answer, and frames that come back as they went.

use bolero::TypeGenerator;
use shunt_control::protocol::{
    Frame, argv, quote, read_frame, read_version, request, split, unstuff, write_frame,
};

#[derive(Clone, Debug, TypeGenerator)]
enum Input {
    Line(String),
    Words(Vec<String>),
    Answer(Vec<u8>),
    Out(Vec<u8>),
    Stuffed(Vec<u8>),
}

#[test]
fn protocol() {
    bolero::check!().with_type::<Input>().for_each(|input| match input {
        Input::Line(line) => {
            if let Ok(words) = argv(line) {
                assert!(!words.is_empty());
            }
        }
        Input::Words(words) => {
            for word in words {
                assert_eq!(split(&quote(word)).as_deref(), Ok(&[word.clone()][..]));
            }
            if !words.is_empty() {
                assert_eq!(argv(request(words).trim_end_matches('\n')).as_ref(), Ok(words));
            }
        }
        Input::Answer(bytes) => {
            let mut from = &bytes[..];
            if read_version(&mut from).is_ok() {
                while let Ok(frame) = read_frame(&mut from) {
                    let mut again = Vec::new();
                    write_frame(&mut again, &frame).expect("a vector takes all");
                    if from.is_empty() {
                        break;
                    }
                }
            }
        }
        Input::Out(bytes) => {
            let mut wire = Vec::new();
            let frame = Frame::Out(bytes.clone());
            write_frame(&mut wire, &frame).expect("a vector takes all");
            assert_eq!(read_frame(&mut &wire[..]).expect("what was written"), frame);
        }
        Input::Stuffed(line) => {
            let _ = unstuff(line);
        }
    });
}
