//! Shift gates have the depth that their place in the weight gives them.

use candle_core::{Device, Result, Tensor, Var};
use s3_core::s3::S3;
use s3_core::{LayerSpec, Method, ParamKind, Params, Role};
use s3_quant::DenseShift;

/// With every gate open, closing the one below d others leaves 2^d.
#[test]
fn a_gates_depth_is_the_number_of_gates_above_it() -> Result<()> {
    let methods: [(Box<dyn Method>, usize); 4] = [
        (Box::new(S3::new(3)), 2),
        (Box::new(S3::new(4)), 6),
        (Box::new(DenseShift { bits: 2 }), 1),
        (Box::new(DenseShift { bits: 3 }), 3),
    ];
    for (method, shifts) in methods {
        let layer = LayerSpec {
            name: "conv".into(),
            shape: vec![1, 1],
            role: Role::Hidden,
        };
        let params = Params::new(7, &Device::Cpu);
        let quantizer = method.quantizer(&layer, &params)?;
        let latents = params.all();
        let set = |var: &Var, x: f32| var.set(&Tensor::full(x, (1, 1), &Device::Cpu)?);
        for param in latents.values() {
            set(&param.var, 1.0)?;
        }
        for j in 1..=shifts {
            let gate = &latents[&format!("w_{j}")];
            let ParamKind::Gate { depth } = gate.kind else {
                panic!("w_{j}: {:?}", gate.kind)
            };
            set(&gate.var, -1.0)?;
            let weight = quantizer.weight()?.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(weight, [f32::from(1u8 << depth)], "w_{j} of {shifts}");
            set(&gate.var, 1.0)?;
        }
    }
    Ok(())
}
