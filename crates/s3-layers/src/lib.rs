//! candle modules over discrete weights: quantized convolution and linear layers, batch norm, pools and the ResNets of the paper.
