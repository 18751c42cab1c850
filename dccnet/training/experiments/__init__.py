"""Where the progress of a run is logged: TensorBoard, Weights & Biases, MLflow."""
