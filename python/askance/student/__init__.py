"""The model that answers: its features, its ONNX session, and the slot that holds the live one."""
