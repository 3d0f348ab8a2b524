"""Names that timm, Hugging Face and DINO use: errors about them lead to the way here."""

from __future__ import annotations

_FEATURE_MAPS = "use model.intermediates(images, layers, reshape=True), which gives feature maps"

OPTIONS: dict[str, str] = {
    "features_only": _FEATURE_MAPS,
    "out_indices": _FEATURE_MAPS,
    "checkpoint_path": "use create_model(name, pretrained=path)",
    "scriptable": "use paddle.jit.to_static(model)",
    "exportable": "use paddle.jit.save(model, path, input_spec=[...])",
    "img_dim": "use img_size",
    "image_size": "use img_size",
    "num_channels": "use in_chans",
    "num_labels": "use num_classes",
    "class_num": "use num_classes",
    "dim": "use embed_dim",
    "hidden_size": "use embed_dim",
    "hidden_dim": "use embed_dim",
    "num_layers": "use depth",
    "num_hidden_layers": "use depth",
    "heads": "use num_heads",
    "num_attention_heads": "use num_heads",
    "intermediate_size": "use mlp_ratio, the hidden width divided by embed_dim",
    "mlp_dim": "use mlp_ratio, the hidden width divided by embed_dim",
    "hidden_act": "use activation",
    "act_layer": "use activation",
    "layer_norm_eps": "use norm_eps",
    "epsilon": "use norm_eps",
    "norm_layer": "set the class attribute norm_class of a subclass",
    "block_fn": "set the class attribute block_class of a subclass",
}

ATTRIBUTES: dict[str, str] = {
    "forward_intermediates": "use model.intermediates(images, layers), and forward_features(images) for the tokens",
    "get_intermediate_layers": "use model.intermediates(images, layers, norm=True)",
    "forward_feature_maps": _FEATURE_MAPS,
    "get_last_selfattention": "use vitlib.attention_maps(model, images, layers=[-1])",
    "get_selfattention": "use vitlib.attention_maps(model, images, layers)",
    "reset_classifier": "use reset_head(num_classes)",
    "get_classifier": "use model.head",
    "prune_intermediate_layers": "use prune_blocks(count)",
    "set_input_size": "use set_image_size(size)",
    "set_grad_checkpointing": "use set_recompute()",
    "gradient_checkpointing_enable": "use set_recompute()",
    "group_matcher": "use vitlib.param_groups(model, ..., layer_decay=...)",
    "num_classes": "use model.config.num_classes",
    "embed_dim": "use model.config.embed_dim",
    "depth": "use model.config.depth",
    "default_cfg": "use model.config and model.preprocess",
    "pretrained_cfg": "use model.config, model.preprocess and model.load_report",
    "load_pretrained": "use vitlib.load_weights(model, source)",
    "from_pretrained": "use vitlib.from_pretrained(source, model_class=...)",
}
