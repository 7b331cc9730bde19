"""timm: one small variant of each family, on small images and with fewer blocks if the family allows it."""

import contextlib
import itertools

NAMES = """
beit_base_patch16_224 caformer_s18 cait_xxs24_224 coat_tiny coatnet_nano_cc_224 convit_tiny convmixer_768_32
convnext_atto cpubone_nano crossvit_tiny_240 cs3darknet_s csatv2 cspnext_tiny davit_tiny deepseek_vit_412m
deit_tiny_patch16_224 densenet121 dla46_c dpn68 eca_botnext26ts_256 edgenext_xx_small efficientformer_l1
efficientformerv2_s0 efficientnet_b0 efficientvim_m1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim_dw
eva02_tiny_patch14_224 fasternet_t0 fastvit_s12 focalnet_tiny_srf gcvit_xxtiny gemma4_vit_167m ghostnet_050
gmlp_ti16_224 hardcorenas_b hgnetv2_b0 hiera_tiny_224 hrnet_w18_small iformer_s inception_next_atto
inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small legacy_seresnet18 levit_128s lowformer_b0 mambaout_femto
mobilenetv3_small_050 mobilenetv5_300m mobileone_s0 mobilevit_xxs mvitv2_tiny naflexvit_base_patch16_siglip
nasnetalarge nest_tiny nextvit_small nf_regnet_b0 pit_ti_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny
regnety_040_sgn repghostnet_050 repvit_m0_9 res2net50_14w_8s resnest14d resnet18 resnetv2_50 rexnet_100
sam2_hiera_tiny samvit_base_patch16_224 selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window8_256 tiny_vit_5m_224 tnt_s_legacy_patch16_224
tresnet_m twins_svt_small vgg11 visformer_tiny vit_base_patch16_siglip_224 vit_relpos_small_patch16_224
vit_so150m_patch16_reg4_map_256 vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 xception
xception41 xcit_nano_12_p16_224
""".split()
CLASSES = 10
FEWER = (
    {"depths": (1, 1, 1, 1)},
    {"depths": (1, 1, 1)},
    {"depths": (2, 2, 2)},
    {"depth": 3},
    {"layers": (1, 1, 1, 1)},
    {},
)
SIZES = (128, 112, 96, 64)  # four cells along an axis, where a network divides it by 32


def build(name):
    """Build the model with the first combination of fewer blocks and a small size with which it runs."""
    import numpy as np

    from zoo import weights
    from zoo.modules import Module
    from zoo.sources.torchvision_models import load

    load()  # timm reads its transforms
    last = None
    for fewer, size in itertools.product((first_that_fits(name), {}), (*SIZES, natural(name))):
        images = weights.images(size)
        try:
            module = made(name, size, fewer, images)
        except Exception as failure:  # each family raises its own errors
            last = failure
            continue
        count = sum(parameter.numel() for parameter in module.parameters())
        return Module(module, images, np.array([1, 7]), note=f"{size} px {fewer or ''}".strip(), weights=count)
    raise last


def first_that_fits(name):
    """Find the argument for fewer blocks that this family takes, without creating weights."""
    import timm
    import torch

    for fewer in FEWER:
        with contextlib.suppress(Exception), torch.device("meta"):
            timm.create_model(name, pretrained=False, num_classes=CLASSES, **fewer)
            return fewer
    return {}


def natural(name):
    import timm

    config = timm.get_pretrained_cfg(name)
    return config.input_size[-1] if config is not None else 224


def made(name, size, fewer, images):
    import timm
    import torch

    from zoo import weights

    given = {"pretrained": False, "num_classes": CLASSES} | fewer
    torch.manual_seed(0)
    try:
        module = timm.create_model(name, img_size=size, **given)
    except TypeError:  # a convolutional network takes any size
        module = timm.create_model(name, **given)
    with torch.no_grad():
        outputs = module.eval()(torch.as_tensor(images))
    if not isinstance(outputs, torch.Tensor) or outputs.shape != (len(images), CLASSES):
        raise ValueError(f"{name} is no classifier")
    return weights.prepare(module, images)
