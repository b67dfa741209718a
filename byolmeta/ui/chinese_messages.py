"""What the package says in English outside of words.py, and the same in Simplified Chinese.

Fields are {0}, {1}, ... in the order of the English. Some are parts that stand in a field of another; sentences.said puts
them together. SYSTEM is what the operating system says in fields.
"""

MESSAGES: dict[str, str] = {
    "The checkpoint {0}. The encoder beside it is whole: start a new run from it with --init.": (
        "检查点{0}。旁边的编码器是完好的：请用 --init 从它开始新的运行。"
    ),
    "The pictures are not the ones this run began with (some were added, removed or changed). Start a new run from "
    "this encoder with --init instead of --resume.": (
        "这些图片不是这次运行开始时用的那些（有些被添加、移走或改动了）。请用 --init 从这个编码器开始新的运行，"
        "不要用 --resume。"
    ),
    "{0}; going on from the checkpoint before it.": "{0}；从它之前的检查点继续。",
    "'{0}' cannot be read ({1})": "“{0}”无法读取（{1}）",
    "Examples of one class only teach nothing. Put one picture or more into a second box.": (
        "只有一类例子，什么也教不了。请往第二个类别框里放一张或更多图片。"
    ),
    "'{0}' lies in the folder of pictures, which is only read. Name a folder outside of it.": (
        "“{0}”在图片的文件夹里，那里只读不写。请指定它之外的文件夹。"
    ),
    "'{0}' is there and not empty. Name a folder that is new or empty.": (
        "“{0}”已经存在，而且不是空的。请指定一个新的或空的文件夹。"
    ),
    "The pictures have vectors of {0} numbers and the examples of {1}. Use the encoder that the examples were "
    "shown to.": ("图片的向量有 {0} 个数，例子的有 {1} 个。请用例子当时所用的编码器。"),
    "'{0}' cannot be made ({1}). Name another folder.": "“{0}”无法创建（{1}）。请指定别的文件夹。",
    "There is no protocol '{0}'. Choose from: {1}.": "没有名为“{0}”的评测方式。请从这些里选：{1}。",
    "There are no features '{0}'. Choose readout or encoder.": "没有名为“{0}”的特征。请选 readout 或 encoder。",
    "'{0}' has no network to fine-tune. Use 'untrained' for one that knows nothing yet.": (
        "“{0}”没有可以微调的网络。要用还什么都不会的网络，请写 'untrained'。"
    ),
    "{0} of the test pictures are also training pictures: the figures are too good.": (
        "测试图片里有 {0} 张也是训练图片：数字偏高。"
    ),
    "There is no map engine '{0}'. Choose from: {1}.": "没有名为“{0}”的地图引擎。请从这些里选：{1}。",
    "This encoder practised with these class folders: its figures are too good for new ones.": (
        "这个编码器练习时用的正是这些类别文件夹：对新的类别来说，数字偏高。"
    ),
    "No pictures to sort are given. Add --images FOLDER.": "没有给出要分类的图片。请加上 --images FOLDER。",
    "No examples are given. Add --examples FOLDER, which holds one folder of examples a class.": (
        "没有给出例子。请加上 --examples FOLDER，里面每一类一个文件夹。"
    ),
    "'{0}' is no encoder file that a project could hold. Use an encoder.": (
        "“{0}”不是项目文件能容纳的编码器文件。请用一个编码器。"
    ),
    "'{0}' holds {1} class folders; at least 2 are needed, each with one example or more.": (
        "“{0}”里有 {1} 个类别文件夹；至少要 2 个，每个里面至少一个例子。"
    ),
    "A project file has its own examples and learner. Leave out --examples, --learner and --project.": (
        "项目文件自带例子和学习方法。请去掉 --examples、--learner 和 --project。"
    ),
    "There is no format '{0}'. Choose onnx.": "没有名为“{0}”的格式。请选 onnx。",
    "'{0}' has no network to practise with. Use an encoder, or 'untrained'.": (
        "“{0}”没有可以练习的网络。请用一个编码器，或者 'untrained'。"
    ),
    "An untrained network has no vectors worth practising on. Add --through all, or use an encoder.": (
        "未训练的网络没有值得练习的向量。请加上 --through all，或者用一个编码器。"
    ),
    "It has {0} million pixels; the limit is {1} million.": "它有 {0} 百万像素；上限是 {1} 百万像素。",
    "This encoder takes pictures of {0} pixels; a shared computer studies those of {1} at most. Go on from another one, or "
    "on your own computer.": "这个编码器要用 {0} 像素的图片；共享电脑上学习最多用 {1} 像素。请从别的编码器继续，或者在你自己的电脑上学习。",
    "The file is empty.": "文件是空的。",
    "It is larger than the limit of {0} MB for one picture.": "它超过了单张图片 {0} MB 的上限。",
    "It is packed in {0} layers; the limit is {1}.": "它分成 {0} 层压缩；上限是 {1} 层。",
    "The content is not a picture that can be read.": "内容不是能读取的图片。",
    "It has too many pixels; the limit is {0} million.": "它的像素太多；上限是 {0} 百万像素。",
    "It needs more memory than one picture may use.": "它需要的内存超过了单张图片的上限。",
    "The file is damaged or cut off ({0}).": "文件已损坏或不完整（{0}）。",
    "The file could not be opened ({0}).": "文件打不开（{0}）。",
    "This part of the zip is damaged or packed in an unknown way ({0}).": (
        "zip 的这一部分已损坏，或者压缩方式未知（{0}）。"
    ),
    "It took longer than {0} seconds to decode.": "解码超过了 {0} 秒。",
    "A decoding process did not start: run `python -m byolmeta.decode` to see why.": (
        "解码进程没有启动：请运行 `python -m byolmeta.decode` 查看原因。"
    ),
    "It is not an ordinary file.": "它不是普通文件。",
    "{0} Make room on the disk and try again.": "{0}请在磁盘上腾出空间，再试一次。",
    "The picture decoder crashed on it.": "图片解码器在处理它时崩溃了。",
    "The decoded pictures could not be written ({0}).": "解码后的图片无法写入（{0}）。",
    "There is no example yet. Draw a box around one thing to find.": "还没有例子。请在要找的物体周围画一个框。",
    "Class {0} has no example. Draw a box around one, or take the class away.": (
        "类别 {0} 没有例子。请画一个框，或者去掉这个类别。"
    ),
    "The box from {0}, {1} to {2}, {3} is not inside of its picture, which has {4} x {5} pixels. Draw it inside.": (
        "从 {0}, {1} 到 {2}, {3} 的框不在图片里面，图片有 {4} x {5} 像素。请画在里面。"
    ),
    "The box is {0} x {1} pixels; {2} or more each way are needed. Draw a larger one, or use a larger picture.": (
        "框是 {0} x {1} 像素；宽和高都至少要 {2}。请画大一些，或者用大一些的图片。"
    ),
    "The device '{0}' is not there. Use one of: auto, {1}.": "没有设备“{0}”。请用其中之一：auto, {1}。",
    "The precision is '{0}'. Choose auto, bf16 or fp32.": "精度是“{0}”。请选 auto、bf16 或 fp32。",
    "There is no encoder called '{0}'. Choose one of: {1}.": "没有名为“{0}”的编码器。请从这些里选：{1}。",
    "The picture size is {0}; it must lie between 8 and 1024 pixels.": "图片大小是 {0}；必须在 8 到 1024 像素之间。",
    "There is no kind of pictures '{0}'. Choose one of: {1}.": "没有“{0}”这种图片。请从这些里选：{1}。",
    "The {0} of the colours is {1}; it must be {2}, above 0 for std.": "颜色的 {0} 是 {1}；必须是{2}，std 要大于 0。",
    "three numbers": "三个数",
    "one number": "一个数",
    "The practice in '{0}' does not fit its network; use another copy of the file.": (
        "“{0}”里的练习与它的网络不匹配；请换一份文件。"
    ),
    "The readout in '{0}' does not fit its network; use another copy of the file.": (
        "“{0}”里的读出层与它的网络不匹配；请换一份文件。"
    ),
    "The card of '{0}' says that its readout saw {1} pictures; use another copy.": (
        "“{0}”的说明卡称，它的读出层看过 {1} 张图片；请换一份文件。"
    ),
    "The card of '{0}' has a readout_damping of {1}; use another copy.": (
        "“{0}”的说明卡里，readout_damping 是 {1}；请换一份文件。"
    ),
    "The weights in '{0}' do not fit the network its card describes ({1} tensors differ, the first is '{2}'). The "
    "file may be damaged; use another copy.": (
        "“{0}”里的权重与说明卡描述的网络不匹配（{1} 个张量不同，第一个是“{2}”）。文件可能已损坏；请换一份。"
    ),
    "'{0}' in '{1}' holds {2} numbers; floating point ones are needed.": (
        "“{1}”里的“{0}”是 {2} 类型的数；需要浮点数。"
    ),
    "'{0}' holds numbers that are not finite or cannot be ('{1}'); use another copy.": (
        "“{0}”里有不是有限值或不可能的数（“{1}”）；请换一份文件。"
    ),
    "Tasks are drawn from class folders, one for each class, and here are none. Sort some pictures into folders.": (
        "任务是从类别文件夹里抽取的，每类一个文件夹，而这里没有。请把一些图片分到文件夹里。"
    ),
    "{0}-way tasks with {1} examples and {2} queries need {3} classes of at least {4} different pictures; {5} of "
    "the {6} class folders have them (the smallest is '{7}' with {8}). Ask for fewer classes, examples or queries.": (
        "{0}-way、{1} 个例子、{2} 个提问的任务，需要 {3} 个类别，每类至少 {4} 张不同的图片；{6} 个类别文件夹里有 "
        "{5} 个符合（最小的是“{7}”，有 {8} 张）。请减少类别、例子或提问。"
    ),
    "{0} is {1}; it must be {2} or more.": "“{0}”是 {1}；必须至少是 {2}。",
    "The two folders share no class folder (training: {0}; test: {1}). Put the pictures of each class in a folder "
    "of the same name.": ("两个文件夹没有共同的类别文件夹（训练：{0}；测试：{1}）。请把每一类的图片放进同名的文件夹。"),
    "Writing ONNX needs the package '{0}'. Install it: pip install onnx onnxscript onnxruntime": (
        "写 ONNX 需要软件包“{0}”。请安装：pip install onnx onnxscript onnxruntime"
    ),
    "The exported file answers differently (by {0}); it was not kept. Please report this.": (
        "导出的文件给出的回答不同（相差 {0}）；没有保留。请报告这个问题。"
    ),
    "There is no encoder at '{0}'. Give a file, a run folder that holds encoder.safetensors, or a shipped name "
    "({1}).": (
        "“{0}”处没有编码器。请给一个文件、一个装有 encoder.safetensors 的运行文件夹，或者一个自带的名称（{1}）。"
    ),
    "'{0}' was written by a newer byolmeta. Please update this one.": "“{0}”是由更新的 byolmeta 写的。请更新这一个。",
    "There is no encoder file at '{0}'.": "“{0}”处没有编码器文件。",
    "'{0}' is not an encoder file of byolmeta ({1}). Choose an encoder.safetensors that a run wrote.": (
        "“{0}”不是 byolmeta 的编码器文件（{1}）。请选一个由运行写出的 encoder.safetensors。"
    ),
    "its card does not describe a network": "它的说明卡没有描述一个网络",
    "There is no film yet: it is made while the pictures are studied. Study them first.": (
        "还没有影片：它是在学习图片时制作的。请先学习这些图片。"
    ),
    "The network in '{0}' is not a ResNet-18 or ResNet-50 as we know it: {1}. It cannot be imported.": (
        "“{0}”里的网络不是我们认识的 ResNet-18 或 ResNet-50：{1}。不能导入。"
    ),
    "its first convolution is {0} x {1}, not 7 x 7 or 3 x 3": "它的第一个卷积是 {0} x {1}，不是 7 x 7 或 3 x 3",
    "it is no ResNet-18 ({0})": "它不是 ResNet-18（{0}）",
    "{0} tensors are missing, {1} have another shape and {2} are too many, the first is '{3}'": (
        "缺少 {0} 个张量，{1} 个形状不同，多出 {2} 个，第一个是“{3}”"
    ),
    "it holds {0}": "里面{0}",
    "only a momentum network": "只有动量网络",
    "no convolution of three colours": "没有三个颜色通道的卷积",
    "'{0}' holds no named tensors. Give a checkpoint or a state_dict.": (
        "“{0}”里没有命名的张量。请给一个检查点或 state_dict。"
    ),
    "The first convolution of '{0}' is {1} x {2}, which goes with pictures of {3}. Choose --image-size accordingly.": (
        "“{0}”的第一个卷积是 {1} x {2}，适合{3}的图片。请相应地设置 --image-size。"
    ),
    "64 pixels and more": "64 像素及以上",
    "less than 64 pixels": "小于 64 像素",
    "There is no file at '{0}'.": "“{0}”处没有文件。",
    "'{0}' {1} ({2}). Nothing in it was run. Save its state_dict alone (torch.save(model.state_dict(), FILE)) and "
    "import that.": (
        "“{0}”{1}（{2}）。其中的内容都没有运行。请只保存它的 state_dict（torch.save(model.state_dict(), FILE)），"
        "再导入。"
    ),
    "holds more than tensors": "里面不只是张量",
    "cannot be read": "无法读取",
    "This computer cannot reach {0}. Check the connection, or use a starter (a name in pretrained/).": (
        "这台电脑连不上{0}。请检查网络，或者用一个现成的编码器（pretrained/ 里的名称）。"
    ),
    "the Hub for '{0}'": " Hub 上的“{0}”",
    "torchvision's weights ({0})": " torchvision 的权重（{0}）",
    "'{0}' is not of the form OWNER/NAME, for instance ada/my-encoder.": (
        "“{0}”不是 OWNER/NAME 的形式，例如 ada/my-encoder。"
    ),
    "There is no token for the Hub. Make one there with leave to write, then: hf auth login (or HF_TOKEN).": (
        "没有 Hub 的令牌。请在那里建一个有写权限的，然后运行 hf auth login（或设置 HF_TOKEN）。"
    ),
    "'hub:{0}' is not of the form hub:OWNER/NAME.": "“hub:{0}”不是 hub:OWNER/NAME 的形式。",
    "torchvision:{0} is not known here. Choose torchvision:resnet18 or torchvision:resnet50.": (
        "这里不认识 torchvision:{0}。请选 torchvision:resnet18 或 torchvision:resnet50。"
    ),
    "'{0}' on the Hub has no {1}: it is no encoder of byolmeta.": "Hub 上的“{0}”没有 {1}：它不是 byolmeta 的编码器。",
    "There is no repository '{0}' on the Hub that you may see. Check the name; a private one needs a token.": (
        "Hub 上没有你能看到的仓库“{0}”。请检查名称；私有仓库需要令牌。"
    ),
    "'{0}' cannot be a name on the Hub ({1}).": "“{0}”不能作为 Hub 上的名称（{1}）。",
    "The Hub answered {0} for '{1}'. Try again later.": "Hub 对“{1}”的回答是 {0}。请稍后再试。",
    "timm:{0} needs the package timm. Install it: pip install timm": (
        "timm:{0} 需要软件包 timm。请安装：pip install timm"
    ),
    "timm has no pretrained '{0}' ({1}).": "timm 没有预训练的“{0}”（{1}）。",
    "The Hub does not let you write '{0}' ({1}). Use your own name, and a token with leave to write.": (
        "Hub 不允许你写“{0}”（{1}）。请用你自己的名称，和有写权限的令牌。"
    ),
    "{0} decoded pictures need {1} GB and {2} has {3} GB free. Make room, or use fewer pictures.": (
        "{0} 张解码后的图片需要 {1} GB，而 {2} 只剩 {3} GB。请腾出空间，或者少用一些图片。"
    ),
    "The picture size is {0}; it must be 4 to {1} pixels.": "图片大小是 {0}；必须是 4 到 {1} 像素。",
    "None of the {0} pictures could be read. {1}: {2}": "{0} 张图片一张也读不了。{1}：{2}",
    "There are too many runs called '{0}' in '{1}'. Remove some.": "“{1}”里名为“{0}”的运行太多了。请删掉一些。",
    "There is no learner called '{0}'. Choose one of: {1}.": "没有名为“{0}”的学习方法。请从这些里选：{1}。",
    "The card of this encoder has settings for '{0}' that it does not take. Use another copy.": (
        "这个编码器的说明卡里，有“{0}”不接受的设置。请换一份文件。"
    ),
    "The inner loop has no rate; it needs one number, or one for each step.": (
        "内循环没有学习率；需要一个数，或者每步一个。"
    ),
    "There are no stages '{0}'. Choose one of: {1}.": "没有名为“{0}”的网络段。请从这些里选：{1}。",
    "Fine-tuning cannot be meta-trained. Use 'maml', which adapts the network too.": (
        "微调不能做元训练。请用 'maml'，它也会适应网络。"
    ),
    "Logistic regression by L-BFGS cannot be meta-trained. Use 'anil' or 'prototype'.": (
        "L-BFGS 求解的逻辑回归不能做元训练。请用 'anil' 或 'prototype'。"
    ),
    "There is no norm '{0}'. Choose one of: {1}.": "没有名为“{0}”的归一化。请从这些里选：{1}。",
    "There is no metric '{0}'. Choose one of: {1}.": "没有名为“{0}”的度量。请从这些里选：{1}。",
    "The penalty of the ridge regression is {0}; it must be above 0.": "岭回归的惩罚系数是 {0}；必须大于 0。",
    "Two categories in '{0}' have the same id. Give each its own.": (
        "“{0}”里有两个类别的 id 相同。请给每个不同的 id。"
    ),
    "'{0}' has no boxes of things to find. Draw one or more and save them under annotations.": (
        "“{0}”里没有要找的物体的框。请画一个或更多，保存在 annotations 里。"
    ),
    "'{0}' has no list of {1}. A COCO-style file has images, annotations and categories.": (
        "“{0}”里没有 {1} 列表。COCO 式的文件有 images、annotations 和 categories。"
    ),
    "A {0} in '{1}' has the {2} {3}; a whole number is needed.": "“{1}”里有一个 {0}，它的 {2} 是 {3}；需要整数。",
    "A box of '{0}' in '{1}' is {2}; it must be [left, top, width, height] in pixels, with a width and a height "
    "above 0.": ("“{1}”里，“{0}”的一个框是 {2}；必须是以像素表示的 [left, top, width, height]，宽和高大于 0。"),
    "The threshold is {0}; it must be from 0 (all boxes) to 1 (none but certain ones).": (
        "阈值是 {0}；必须在 0（所有框）到 1（只要完全确定的）之间。"
    ),
    "A box of '{0}' reaches from {1}, {2} to {3}, {4}, and the upright picture has {5} x {6} pixels. Give boxes in "
    "pixels of the upright picture.": (
        "“{0}”的一个框从 {1}, {2} 到 {3}, {4}，而转正后的图片有 {5} x {6} 像素。请按转正后的图片的像素给出框。"
    ),
    "Nothing was found that is sure enough. Draw one more example, or lower --threshold.": (
        "没有找到把握足够大的。请再画一个例子，或者调低 --threshold。"
    ),
    "The examples '{0}' could not be read. {1} Give a COCO-style JSON file.": (
        "例子“{0}”无法读取。{1}请给一个 COCO 式的 JSON 文件。"
    ),
    "'{0}' is not JSON. Give a COCO-style file with images, annotations and categories.": (
        "“{0}”不是 JSON。请给一个 COCO 式的文件，包含 images、annotations 和 categories。"
    ),
    "An image in '{0}' has no file_name. Each needs id and file_name.": (
        "“{0}”里有一个图像没有 file_name。每个都需要 id 和 file_name。"
    ),
    "Two images in '{0}' have the id {1}. Give each its own.": "“{0}”里有两个图像的 id 都是 {1}。请给每个不同的 id。",
    "A box in '{0}' is of image {1}, which is not under images. Add it there.": (
        "“{0}”里有一个框属于图像 {1}，它不在 images 里。请把它加进去。"
    ),
    "A box in '{0}' is of category {1}, which is not under categories. Add it there.": (
        "“{0}”里有一个框属于类别 {1}，它不在 categories 里。请把它加进去。"
    ),
    "The picture {0} of an example could not be read. {1}": "例子的图片 {0} 无法读取。{1}",
    "It ended early: no gain in {0} looks at puzzles held back.": "提前结束：连续 {0} 次检查留出的小题，都没有进步。",
    "There was no time for a single puzzle, so the encoder stays as it was. Give more minutes.": (
        "时间太短，一道小题也没做成，所以编码器保持原样。请多给几分钟。"
    ),
    "Practice helped: from {0} on {1} ({2}).": "练习有帮助：在{1}里，从 {0}（{2}）。",
    "Practice brought no gain on {0} ({1}, {2}), so the encoder stays as it was.{3}": (
        "在{0}里，练习没有带来进步（{1}，{2}），所以编码器保持原样。{3}"
    ),
    "{0} pictures are too few to tell.": "{0} 张图片太少，说明不了问题。",
    "puzzles it had never seen": "从未见过的小题",
    "puzzles of the classes that folders name, which it had not been told": "由文件夹给出类别、但没有告诉过它的小题",
    "The time for it was up.": "时间到了。",
    "Stopped when asked.": "已按要求停止。",
    "This run had come to its end, so nothing was done.": "这次运行早已结束，所以什么都没有做。",
    "The loss became {0} at step {1}. Try half the rate (--lr).": (
        "在第 {1} 步，损失变成了 {0}。请把学习率减半（--lr）。"
    ),
    "The loss became {0} at step {1}. Try a lower lr.": "在第 {1} 步，损失变成了 {0}。请调低 lr。",
    "The checkpoint does not fit the run's config.json ({0}). Was it changed?": (
        "检查点与这次运行的 config.json 不匹配（{0}）。它被改过吗？"
    ),
    "No picture in '{0}' has a mask: none in masks/ has the name of one in images/.": (
        "“{0}”里没有一张图片有掩码：masks/ 里没有一个与 images/ 里的同名。"
    ),
    "The masks are all background. Mark the thing in at least one, by a value other than 0.": (
        "掩码全是背景。请至少在一个里，用 0 以外的值标出物体。"
    ),
    "The masks have {0} values besides 0, at most {1} classes are possible. Save them as PNG, without smoothing, "
    "with one value for each class.": ("掩码里除 0 之外有 {0} 个值，最多 {1} 类。请存为 PNG，不要平滑，每类一个值。"),
    "'{0}' has no class folders. Put pictures that have the thing into a folder of its name, and others into a "
    "folder '{1}'.": ("“{0}”里没有类别文件夹。请把有该物体的图片放进以它命名的文件夹，其他的放进文件夹“{1}”。"),
    "'{0}' has the folder{1} {2} alone. Tags need pictures that have the thing, in a folder of its name, and "
    "others, in a folder '{3}'.": (
        "“{0}”里只有文件夹 {2}。标签需要两种图片：有该物体的，放进以它命名的文件夹；其他的，放进文件夹“{3}”。"
    ),
    "Nothing was outlined. Mark one more example, of pictures more like these.": (
        "没有画出任何轮廓。请再标一个例子，选与这些更像的图片。"
    ),
    "'{0}' has no folder '{1}'. Put pictures into images/, and masks of the same names into masks/.": (
        "“{0}”里没有文件夹“{1}”。请把图片放进 images/，把同名的掩码放进 masks/。"
    ),
    "The picture '{0}' of an example could not be read. {1}": "例子的图片“{0}”无法读取。{1}",
    "The mask '{0}' could not be read. Save it as PNG.": "掩码“{0}”无法读取。请存为 PNG。",
    "The mask '{0}' has {1} x {2} pixels and its upright picture {3} x {4}. Give a mask of the picture's size.": (
        "掩码“{0}”有 {1} x {2} 像素，而它转正后的图片有 {3} x {4}。请给与图片一样大的掩码。"
    ),
    "The mask '{0}' has {1} x {2} pixels, which is too many.": "掩码“{0}”有 {1} x {2} 像素，太多了。",
    "The mask '{0}' has values up to {1}; they must be 0 to 255.": (
        "掩码“{0}”里的值最大是 {1}；必须在 0 到 255 之间。"
    ),
    "{0} pictures at once do not fit in memory: each step computes them in {1} parts of {2}.": (
        "内存放不下一次 {0} 张图片：每一步分成 {1} 份，每份 {2} 张来算。"
    ),
    "{0} pictures to train on are too few for {1} processes. Start fewer.": (
        "只有 {0} 张训练图片，对 {1} 个进程来说太少了。请少开几个。"
    ),
    "{0} parts of {1} pictures would have fewer than two each, which batch norm needs. Set parts to at most {2}.": (
        "{1} 张图片分成 {0} 份，每份不到两张，而批归一化至少要两张。请把 parts 设为最多 {2}。"
    ),
    "The run's batch of {0} cannot be shared evenly among {1} processes. Resume with a number that divides it.": (
        "这次运行的批大小是 {0}，不能平均分给 {1} 个进程。继续时请用能整除它的数目。"
    ),
    "The checkpoint was written by another version of byolmeta. Start anew with --init.": (
        "检查点是由另一个版本的 byolmeta 写的。请用 --init 重新开始。"
    ),
    "{0} is {1} in config.json, but the run began with {2}. Put it back, or start a new run from the encoder with "
    "--init.": ("config.json 里的“{0}”是 {1}，但这次运行开始时是 {2}。请改回去，或者用 --init 从编码器开始新的运行。"),
    "The loss became {0} at step {1}. The last good encoder is kept. Try half the learning rate.": (
        "在第 {1} 步，损失变成了 {0}。最后一个好的编码器留着。请把学习率减半再试。"
    ),
    "The heads of BYOL beside that encoder have another size or aim, so new ones were begun.": (
        "那个编码器旁边的 BYOL 头大小或目标不同，所以换用了新的。"
    ),
    "The encoder of an earlier step is kept: since then, fewer pictures find their twin.": (
        "保留的是较早一步的编码器：在那之后，能找到另一半的图片变少了。"
    ),
    "Pictures that can be read: {0}. Studying needs at least 4, and gets useful from about 100.": (
        "能读取的图片：{0} 张。学习至少需要 4 张，大约 100 张起才有用。"
    ),
    "This run had come to its end, so nothing was done. Go on in a new one with --init.": (
        "这次运行早已结束，所以什么都没有做。要继续，请用 --init 开始新的运行。"
    ),
    "Stopped when asked; what was learned is kept.": "已按要求停止；学到的都保留着。",
    "The pictures' vectors became almost equal (collapse), so studying stopped; the best encoder before that is "
    "kept. A lower learning rate or a larger batch helps.": (
        "图片的向量变得几乎相同（坍缩），所以停止了学习；在那之前最好的编码器留着。降低学习率或加大批大小会有帮助。"
    ),
    "Choose a .byolmeta file that this app saved, or another copy of it.": (
        "请选一个由本程序保存的 .byolmeta 文件，或者换一份。"
    ),
    "A project file holds {0} examples and the boxes have {1}.": (
        "一个项目文件最多容纳 {0} 个例子，而类别框里有 {1} 个。"
    ),
    "There is no project file at '{0}'.": "“{0}”处没有项目文件。",
    "It has {0} x {1} pixels, mode {2}.": "它有 {0} x {1} 像素，模式是 {2}。",
    "What '{0}' was taught gives no answers. {1}": "“{0}”学到的东西给不出回答。{1}",
    "'{0}' in '{1}' does not fit its examples. {2}": "“{1}”里的“{0}”与它的例子不匹配。{2}",
    "'{0}' is not a project file that can be read ({1}). {2}": "“{0}”不是能读取的项目文件（{1}）。{2}",
    "'{0}' holds {1} parts, which is too many. {2}": "“{0}”里有 {1} 个部分，太多了。{2}",
    "'{0}' lacks its part '{1}'. {2}": "“{0}”里缺少“{1}”这个部分。{2}",
    "'{0}' does not say what it holds. {1}": "“{0}”没有说明自己装的是什么。{1}",
    "'{0}' in '{1}' is not what a project has. {2}": "“{1}”里的“{0}”不是项目该有的样子。{2}",
    "The settings of the learner '{0}' are not such as it takes. {1}": "学习方法“{0}”的设置不是它能接受的。{1}",
    "The examples' numbers in '{0}' cannot be read ({1}). {2}": "“{0}”里例子的数据无法读取（{1}）。{2}",
    "The encoder in '{0}' gives vectors of {1} numbers and its examples have {2}. {3}": (
        "“{0}”里的编码器给出 {1} 个数的向量，而例子的有 {2} 个。{3}"
    ),
    "'{0}' holds a part that no project has ('{1}'). {2}": "“{0}”里有项目不该有的部分（“{1}”）。{2}",
    "The part '{0}' of '{1}' is larger than {2} MB. {3}": "“{1}”里的“{0}”超过了 {2} MB。{3}",
    "The part '{0}' of '{1}' could not be read. {2} {3}": "“{1}”里的“{0}”无法读取。{2}{3}",
    "The picture '{0}' of '{1}' does not fit. {2} {3}": "“{1}”里的图片“{0}”不合适。{2}{3}",
    "The encoder in '{0}' cannot be used. {1}": "“{0}”里的编码器不能用。{1}",
    "Practice on class folders needs at least 6 of them (2 to practise on, 2 to choose by, 2 to judge by); found "
    "{0}. Practise on the pictures alone instead (--tasks pseudo).": (
        "用类别文件夹练习，至少需要 6 个（2 个用来练习，2 个用来挑选，2 个用来评判）；找到 {0} 个。"
        "请改为只用图片练习（--tasks pseudo）。"
    ),
    "Puzzles need at least {0} pictures; here are {1}. Add pictures.": (
        "编小题至少需要 {0} 张图片；这里有 {1} 张。请再加一些图片。"
    ),
    "Puzzles of {0} classes with {1} examples and {2} questions each cannot be made of these pictures: at most {3} "
    "classes are large enough. Add pictures, or ask for fewer.": (
        "{0} 类、每类 {1} 个例子和 {2} 个提问的小题，用这些图片编不出来：够大的类最多 {3} 个。请再加一些图片，"
        "或者要求少一些。"
    ),
    "The {0} processes have different {1}. Give every machine the same folder.": (
        "{0} 个进程的 {1} 不同。请给每台机器相同的文件夹。"
    ),
    "The disk is full ({0}). Make room: the run goes on by itself. Nothing is lost.": (
        "磁盘已满（{0}）。请腾出空间：运行会自己继续。什么都没有丢失。"
    ),
    "'{0}' is not a run folder (its config.json is absent or damaged). Give the folder a run wrote.": (
        "“{0}”不是运行文件夹（它的 config.json 不在或已损坏）。请给一个由运行写出的文件夹。"
    ),
    "The config.json of '{0}' is damaged: its '{1}' is {2}, not a text.": (
        "“{0}”的 config.json 已损坏：其中的“{1}”是 {2}，不是文字。"
    ),
    "No status was written.": "没有写下状态。",
    "The training process ended unexpectedly. Nothing before the last save is lost.": (
        "训练进程意外结束。上次保存之前的都没有丢失。"
    ),
    "It did not end when it was asked to, so it was given up.": "要求它结束时它没有结束，所以放弃了它。",
    "Without a GPU from step {0} on: {1}.": "从第 {0} 步起没有 GPU：{1}。",
    "'{0}' already holds a run. Continue it with --resume, or choose another folder.": (
        "“{0}”里已经有一次运行。请用 --resume 继续它，或者选别的文件夹。"
    ),
    "'{0}' holds '{1}', which no run of this version wrote. Choose another folder, so that nothing of yours is "
    "replaced.": ("“{0}”里有“{1}”，它不是由这个版本的运行写的。请选别的文件夹，以免覆盖你的东西。"),
    "The run folder '{0}' cannot be written ({1}). Choose another place.": (
        "运行文件夹“{0}”无法写入（{1}）。请选别的地方。"
    ),
    "Another process ({0}) is training in '{1}'. Stop it first, or use another folder.": (
        "另一个进程（{0}）正在“{1}”里训练。请先停止它，或者用别的文件夹。"
    ),
    "'{0}' cannot be removed ({1}); while it is there, the run would {2}. Remove it.": (
        "“{0}”无法删除（{1}）；只要它还在，运行就会停住（{2}）。请删除它。"
    ),
    "There is no sample set {0}. Choose one of: {1}.": "没有名为 {0} 的示例。请从这些里选：{1}。",
    "{0} is neither a folder nor a file. Give a folder or a zip with pictures.": (
        "{0} 既不是文件夹也不是文件。请给一个装有图片的文件夹或 zip。"
    ),
    "Its name points outside of the zip.": "它的名称指向 zip 之外。",
    "It is a link, not a picture.": "它是链接，不是图片。",
    "It is locked with a password. Unpack the zip first.": "它有密码保护。请先解开 zip。",
    "{0} pictures cannot be read. Save it as JPG.": "{0} 图片无法读取。请存为 JPG。",
    "No folder is given. Give the path of a folder or a zip with pictures.": (
        "没有给出文件夹。请给一个装有图片的文件夹或 zip 的路径。"
    ),
    "not a possible path": "不可能是路径",
    "No pictures are given. Choose a folder, a zip or some picture files.": (
        "没有给出图片。请选一个文件夹、一个 zip 或几个图片文件。"
    ),
    "It is an archive inside. Unpack it first.": "里面是压缩包。请先解开它。",
    "{0} could not be opened ({1}). Check the path.": "{0} 打不开（{1}）。请检查路径。",
    "{0} has more than {1} files. Choose a smaller folder.": "{0} 里超过了 {1} 个文件。请选小一些的文件夹。",
    "The pictures lie on different drives. Copy them into one folder.": (
        "这些图片在不同的驱动器上。请复制到一个文件夹里。"
    ),
    "Not an ordinary file.": "不是普通文件。",
    "{0} is not a zip that can be read ({1}). Needed is a folder, a zip or {2} files. Unpack other archives first.": (
        "{0} 不是能读取的 zip（{1}）。需要文件夹、zip 或 {2} 文件。别的压缩包请先解开。"
    ),
    "The zip has two files of this name.": "zip 里有两个同名的文件。",
    "{0} unpacks to more than {1} GB of pictures, which is the limit. Use a part of them.": (
        "{0} 解开后有超过 {1} GB 的图片，这是上限。请只用其中一部分。"
    ),
    "Not a picture (no ending).": "不是图片（没有扩展名）。",
    "Not a picture ({0}).": "不是图片（{0}）。",
    "Not pictures.": "不是图片。",
    "{0} more files": "另外 {0} 个文件",
    "The folder could not be opened ({0}).": "文件夹打不开（{0}）。",
    "The file is not there.": "文件不在了。",
    "It has {0} MB; the limit is {1} MB for one picture.": "它有 {0} MB；单张图片的上限是 {1} MB。",
    "{0} has more than {1} pictures, which is the limit. Choose a smaller folder.": (
        "{0} 里超过了 {1} 张图片，这是上限。请选小一些的文件夹。"
    ),
    "{0} has no pictures. Needed are {1} files, in it or in folders inside it. {2}": (
        "{0} 里没有图片。需要 {1} 文件，直接放在里面，或者放在里面的文件夹里。{2}"
    ),
    "JPG, PNG, WebP, BMP, GIF or TIFF": "JPG、PNG、WebP、BMP、GIF 或 TIFF",
    "The marks say only what is not it. Draw on one thing to find.": "标记只说了什么不是它。请在一个要找的物体上画。",
    "There is no example yet. Draw on one thing to outline, or say which pictures have it.": (
        "还没有例子。请在一个要画轮廓的物体上画，或者指出哪些图片里有它。"
    ),
    "Class {0} has no example. Draw on one, or take the class away.": (
        "类别 {0} 没有例子。请在一个上面画，或者去掉这个类别。"
    ),
    "The tags all say the same. Tag a picture that has the thing and one that has it not, or draw on one.": (
        "标签说的都一样。请给一张有该物体的图片和一张没有的加上标签，或者在一个上面画。"
    ),
    "A mark has {0} kinds of hints; one is needed: a mask, a stroke, a box or a tag.": (
        "一个标记里有 {0} 种提示；只能有一种：掩码、笔画、框或标签。"
    ),
    "A mask has {0} x {1} pixels and its picture has {2}. Give one of the same size.": (
        "掩码有 {0} x {1} 像素，而它的图片有 {2}。请给一样大的。"
    ),
    "The radius of a stroke is {0}; it must be above 0 pixels.": "笔画的半径是 {0}；必须大于 0 像素。",
    "A stroke goes through {0}, {1}, outside of its picture, which has {2}. Draw inside.": (
        "笔画经过 {0}, {1}，在图片之外，图片有 {2}。请画在里面。"
    ),
    "The box from {0}, {1} to {2}, {3} is not inside of its picture, which has {4}. Draw it inside.": (
        "从 {0}, {1} 到 {2}, {3} 的框不在图片里面，图片有 {4}。请画在里面。"
    ),
    "The seed is {0}; it must be 0 to 4,294,967,295.": "随机种子是 {0}；必须在 0 到 4,294,967,295 之间。",
    "There is no preset '{0}'. Choose one of: {1}.": "没有名为“{0}”的预设。请从这些里选：{1}。",
    "The batch size is {0}; batch norm needs 2 or more.": "批大小是 {0}；批归一化至少需要 2。",
    "There is no optimiser '{0}'. Choose one of: {1}.": "没有名为“{0}”的优化器。请从这些里选：{1}。",
    "parts is {0}; it must be 1 or more, or 0 to go by memory.": "parts 是 {0}；必须至少是 1，或者填 0，按内存决定。",
    "epochs and minutes must be at most {0}.": "epochs 和 minutes 最多是 {0}。",
    "weight_decay is {0}; it must be 0 or more, or -1 for the usual one.": (
        "weight_decay 是 {0}；必须至少是 0，或者填 -1，用通常的值。"
    ),
    "warmup and momentum must be at least 0 and below 1.": "warmup 和 momentum 必须至少是 0，且小于 1。",
    "check_share is {0}; it must lie between 0 and 1.": "check_share 是 {0}；必须在 0 和 1 之间。",
    "hidden is {0} and dim is {1}; they must lie in 1 and 2 to {2}.": (
        "hidden 是 {0}，dim 是 {1}；必须分别在 1 到 {2} 和 2 到 {2} 之间。"
    ),
    "maml changes the network, so it needs --through last or all. On vectors use anil.": (
        "maml 会改动网络，所以需要 --through last 或 all。在向量上请用 anil。"
    ),
    "train_way is {0}; it must be 2 to {1}, or 0 for that of --way.": (
        "train_way 是 {0}；必须在 2 到 {1} 之间，或者填 0，与 --way 相同。"
    ),
    "{0} is {1}; it must be {2}.": "“{0}”是 {1}；必须是{2}。",
    "{0} is {1}; it must be 0 or more.": "“{0}”是 {1}；必须至少是 0。",
    "{0} is '{1}'. Choose one of: {2}.": "“{0}”是“{1}”。请从这些里选：{2}。",
    "{0} is {1}; it must be {2} to {3}.": "“{0}”是 {1}；必须在 {2} 到 {3} 之间。",
    "true or false": "真或假",
    "a whole number": "整数",
    "a number": "数",
    "{0} pictures at once do not fit in the memory of {1}. Choose a smaller batch, smaller pictures or a smaller "
    "network.": ("{1} 的内存放不下一次 {0} 张图片。请把批、图片或网络改小一些。"),
    "No pictures are chosen. Choose some first.": "没有选图片。请先选一些。",
    "Your list '{0}' could not be read ({1}). Make it readable, then open the pictures again.": (
        "你的清单“{0}”无法读取（{1}）。请让它可读，再重新打开图片。"
    ),
    "The zip does not hold it any more.": "zip 里已经没有它了。",
    "'{0}' could not be read. {1} Open the pictures again.": "“{0}”无法读取。{1}请重新打开图片。",
    "The GPU stopped answering ({0}). Nothing before the last save is lost: go on when it is back, or without it "
    "(CUDA_VISIBLE_DEVICES= in the environment).": (
        "GPU 没有反应了（{0}）。上次保存之前的都没有丢失：等它恢复后再继续，或者不用它（设置环境变量 "
        "CUDA_VISIBLE_DEVICES=）。"
    ),
    "{0} is {1}, but this run has {2}; --resume changes no setting. Leave it out, or start a new run from this "
    "one's encoder with --init.": (
        "“{0}”是 {1}，但这次运行里是 {2}；--resume 不改变设置。请去掉它，或者用 --init 从这次运行的编码器开始新的运行。"
    ),
    "{0} is {1}, but the encoder to go on from has {2}. Leave it out.": (
        "“{0}”是 {1}，但要继续用的编码器里是 {2}。请去掉它。"
    ),
    "The run folder '{0}' could not be written ({1}). {2}, then go on with --resume.": (
        "运行文件夹“{0}”无法写入（{1}）。{2}，再用 --resume 继续。"
    ),
    "Make room": "请腾出空间",
    "See that it is there and can be written": "请确认它存在而且可以写入",
    "'{0}' cannot be written ({1}). Give another folder with --home (BYOLMETA_HOME).": (
        "“{0}”无法写入（{1}）。请用 --home（BYOLMETA_HOME）指定别的文件夹。"
    ),
    "'{0}' cannot be written ({1}). Choose another place for --out.": "“{0}”无法写入（{1}）。请为 --out 选别的地方。",
    "MCP tools need a library that is not installed. Install it: pip install 'mcp>=1.21,<2'": (
        "MCP 工具需要一个还没有安装的库。请安装：pip install 'mcp>=1.21,<2'"
    ),
    "The page cannot be served ({0}) Choose another port with --port.": "无法提供页面（{0}）请用 --port 选别的端口。",
    "The board sent something that is not a list of boxes. Reload the page.": "类别框发来的不是一份列表。请刷新页面。",
    "The board sent no revision number. Reload the page.": "类别框没有发来版本号。请刷新页面。",
    "There are {0} boxes, at most {1} are possible. Delete some.": "有 {0} 个类别框，最多 {1} 个。请删掉一些。",
    "Two boxes have the same id. Reload the page.": "有两个类别框的 id 相同。请刷新页面。",
    "A picture lies in two boxes. Take it out of one of them.": "有一张图片同时在两个类别框里。请从其中一个里取出。",
    "The board sent something that is not a box. Reload the page.": "收到的不是类别框。请刷新页面。",
    "A box has no proper id. Reload the page.": "有一个类别框的 id 不正确。请刷新页面。",
    "The name of a box is not plain text. Type another one.": "有一个类别框的名称不是普通文字。请换一个。",
    "The name of a box has {0} characters, it needs 1 to {1}.": "有一个类别框的名称有 {0} 个字符，应为 1 到 {1} 个。",
    "A box holds a picture that is not among these {0}. Reload the page.": (
        "有一个类别框里的图片不在这 {0} 张之中。请刷新页面。"
    ),
    "The board did not say whether a box takes part. Reload the page.": "没有说明一个类别框是否参加。请刷新页面。",
    "A box has a colour that is not one of the {0}. Choose one from its menu.": (
        "有一个类别框的颜色不在 {0} 种之中。请从它的菜单里选一种。"
    ),
    "A box does not count a picture that is not among its examples. Reload the page.": (
        "有一个类别框不算的图片不在它的例子里。请刷新页面。"
    ),
    "'{0}' is not a path on this computer. Check it.": "“{0}”不是这台电脑上的路径。请检查。",
    "The copies cannot be written ({0}). Nothing was kept; name another folder.": (
        "副本无法写入（{0}）。什么都没有保留；请指定别的文件夹。"
    ),
    "The file did not arrive. Try once more.": "没有收到文件。请再试一次。",
    "No files arrived. Drop a folder, a zip or pictures.": "没有收到文件。请拖来一个文件夹、一个 zip 或一些图片。",
    "{0} files are too many at once; {1} are possible. Make a zip, or give its path.": (
        "一次 {0} 个文件太多了；最多 {1} 个。请做成 zip，或者填它的路径。"
    ),
    "The encoder {0} is not one of {1}. Name one, or send a file.": "编码器 {0} 不在 {1} 之中。请写其中一个，或者发一个文件。",
    "The encoder {0} looks like a setting. Give its whole path.": "编码器 {0} 看起来像一个设置。请给出完整路径。",
    "{0} is {1}. Choose one of: {2}.": "{0} 是 {1}。请从这些里选：{2}。",
    "minutes is {0}; it must be more than 0, and at most {1}.": "minutes 是 {0}；它必须大于 0，最多 {1}。",
    "'{0}' has nothing to practise with. Use an encoder.": "“{0}”没有可以练习的东西。请用一个编码器。",
    "It could not be done.": "没能完成。",
    "There are no pictures at '{0}'. Send a zip, or the path of a folder.": "“{0}”处没有图片。请发一个 zip，或者一个文件夹的路径。",
    "It took longer than {0} minutes, the most for one call. Send fewer pictures.": (
        "用时超过了 {0} 分钟，这是一次调用的上限。请少发一些图片。"
    ),
    "A data: URL is without base64. Send data:image/png;base64,... .": (
        "有一个 data: URL 没有 base64。请发 data:image/png;base64,...。"
    ),
    "{0} is {1}; it must be a whole number from {2} to {3}.": "{0} 是 {1}；它必须是 {2} 到 {3} 的整数。",
    "All examples have the tag {0}. Send one more that shows something else, or `none`.": (
        "所有例子的标签都是 {0}。请再发一个显示别的东西的例子，或者 `none`。"
    ),
    "The run failed.": "运行失败了。",
    "1 to {0} pictures are possible in one call; it has {1}. Send a list of files.": (
        "一次调用可以发 1 到 {0} 张图片；这次是 {1}。请发一份文件列表。"
    ),
    "something else than a list": "别的东西，不是列表",
    "No project file is sent. A shared computer keeps no boxes for programs; send one as `project`.": (
        "没有发来项目文件。共享电脑不为程序保存类别框；请用 `project` 发一个。"
    ),
    "`boxes` must be a COCO-style object and `threshold` a number from 0 to 1.": (
        "`boxes` 必须是 COCO 式的对象，`threshold` 必须是 0 到 1 的数。"
    ),
    "Send a mask for each example as `masks`, in their order, or else a word for each as `tags`.": (
        "请用 `masks` 按顺序给每个例子发一个掩码，或者用 `tags` 给每个例子发一个词。"
    ),
    "None of the pictures could be read. {0}": "图片一张也读不了。{0}",
    "The encoder {0} is not one of {1}. Name one of these.": "编码器 {0} 不在这些之中：{1}。请写其中一个。",
    "Two examples have the same name. Give each its own: `boxes` tells them apart by it.": (
        "有两个例子同名。请给每个不同的名称：`boxes` 靠它区分。"
    ),
    "The image {0} of `boxes` is not among the examples. Send it with them.": (
        "`boxes` 里的图像 {0} 不在例子之中。请一起发来。"
    ),
    "A tag is not a word. Send what each example shows, or `none`.": (
        "有一个标签不是词。请发每个例子里有什么，或者 `none`。"
    ),
    "'{0}' is empty. Give a value; {1} is the default.": "“{0}”是空的。请填一个值；默认是 {1}。",
    "There is nothing at this address.": "这个地址没有内容。",
    "Another website asked for this. Open the page itself.": "这是另一个网站请求的。请直接打开本页。",
    "This belongs to another visitor, or to a page that is closed. Reload the page.": (
        "这属于另一位访客，或者属于已经关闭的页面。请刷新页面。"
    ),
    "The request is not a JSON object that can be read.": "请求不是能读取的 JSON 对象。",
    "The request does not say how long it is.": "请求没有说明自己的长度。",
    "That is more than {0} GB, the most for this shared computer.": "超过了 {0} GB，这是这台共享电脑的上限。",
    "This shared computer has no room for more pictures now. Try again in an hour.": (
        "这台共享电脑现在放不下更多图片。请一小时后再试。"
    ),
    "Too many programs wait for this shared computer. Try again when your calls are done, or later.": (
        "等着用这台共享电脑的程序太多了。请等你的请求完成后再试，或者稍后再试。"
    ),
    "You have sent as much as one visitor may in an hour. Try again later.": (
        "你已经发够了一位访客一小时内可以发的量。请稍后再试。"
    ),
    "The request is larger than {0} MB.": "请求超过了 {0} MB。",
    "The form is too long.": "表单太长。",
    "The request took too long to arrive.": "请求传得太久，没有收完。",
    "Send the file itself: nothing is fetched from other places.": "请发文件本身：不会从别处取文件。",
    "Studying needs at least 4 pictures, and gets useful from about 100. Add pictures first.": (
        "学习至少需要 4 张图片，大约 100 张起才有用。请先添加图片。"
    ),
    "The camera sent no picture. Turn it off and on again.": "摄像头没有发来图片。请关掉再打开。",
    "The camera sent a picture of {0} MB; {1} MB are possible. Reload the page.": (
        "摄像头发来的图片有 {0} MB；最多 {1} MB。请刷新页面。"
    ),
    "The camera sent more than {0} pictures in a second, too many for a shared computer.": (
        "摄像头一秒内发来超过 {0} 张图片，对共享电脑来说太多了。"
    ),
    "This box is not there any more. Choose another one.": "这个类别框已经不在了。请另选一个。",
    "The camera sent something that is not a picture. Reload the page.": "摄像头发来的不是图片。请刷新页面。",
    "The camera's picture cannot be used. {0} Reload the page.": "摄像头的图片不能用。{0}请刷新页面。",
    "None of the pictures can be read any more. Open them again under Pictures.": (
        "图片都读不了了。请在“图片”里重新打开。"
    ),
    "The page sent something that is not a list of marks. Reload the page.": "页面发来的不是一份标记列表。请刷新页面。",
    "There are {0} things to find and {1} marks; 1 to {2} and up to {3} are possible. Take some away.": (
        "有 {0} 种要找的物体和 {1} 个标记；可以有 1 到 {2} 种和最多 {3} 个。请去掉一些。"
    ),
    "Two things or two marks have the same id. Reload the page.": "有两种物体或两个标记的 id 相同。请刷新页面。",
    "The page sent a thing to find without a name. Reload the page.": "页面发来的一种要找的物体没有名称。请刷新页面。",
    "The page sent a mark of a thing that is not there. Reload the page.": (
        "页面发来的一个标记，它的物体已经不在了。请刷新页面。"
    ),
    "A mark is on a picture that is not there any more. Reload the page.": (
        "有一个标记所在的图片已经不在了。请刷新页面。"
    ),
    "A mark is neither a box nor a stroke on its picture. Draw it again.": (
        "有一个标记既不是图片上的框，也不是笔画。请重新画。"
    ),
    "A box lies outside of its picture. Draw it again.": "有一个框在图片之外。请重新画。",
    "The map showed other pictures. Reload the page, then select once more.": (
        "地图显示的是别的图片。请刷新页面，再选一次。"
    ),
    "No pictures are selected. Draw a lasso around some, or press them with Shift.": (
        "没有选中图片。请用套索圈几张，或者按住 Shift 点选。"
    ),
    "More than {0} pictures are selected, the most at once. Select fewer.": (
        "选中了超过 {0} 张图片，一次最多这么多。请少选一些。"
    ),
    "That encoder is no longer there. Choose another one from the list.": "那个编码器已经不在了。请从列表里另选一个。",
    "The second map could not be made: its process ended. Choose the encoder once more.": (
        "第二张地图没能做成：它的进程中断了。请再选一次编码器。"
    ),
    "The map showed other pictures. Select once more.": "地图显示的是别的图片。请再选一次。",
    "The board counts changes that nobody made. Reload the page.": "记下的改动并没有人做过。请刷新页面。",
    "A board has at most 20 boxes. Delete one first.": "最多只能有 20 个类别框。请先删掉一个。",
    "You have added {0} pictures and {1} more would be over {2}, the most that this shared computer keeps. Choose "
    "your pictures once more under Pictures to start over, or use your own computer.": (
        "你已经添加了 {0} 张图片，再加 {1} 张就超过 {2} 张，这台共享电脑最多保存这么多。请在“图片”里重新选图片，"
        "从头开始，或者用你自己的电脑。"
    ),
    "There are no pictures at '{0}'. Check the path.": "“{0}”处没有图片。请检查路径。",
    "The start has {0} places for {1} vectors.": "起点有 {0} 个位置，而向量有 {1} 个。",
    "The map process failed: {0}": "地图进程出错：{0}",
    "The weights grew without bound at step {0}. The last good encoder is kept. Try half the learning rate.": (
        "在第 {0} 步，权重无限制地增长。最后一个好的编码器留着。请把学习率减半再试。"
    ),
}

SYSTEM: dict[str, str] = {
    "No such file or directory": "没有这个文件或文件夹",
    "Permission denied": "没有权限",
    "Operation not permitted": "不允许这样做",
    "No space left on device": "磁盘上没有空间了",
    "Disk quota exceeded": "超过了磁盘配额",
    "Read-only file system": "文件系统是只读的",
    "Is a directory": "它是文件夹",
    "Not a directory": "它不是文件夹",
    "File exists": "文件已经存在",
    "File name too long": "文件名太长",
    "File too large": "文件太大",
    "Directory not empty": "文件夹不是空的",
    "GPU task aborted": "GPU 任务被中止",
    "No GPU was available": "没有可用的 GPU",
    "You have exceeded your {0} quota ({1}s requested vs. {2}s left). Try again in {3}": (
        "你的 {0} 配额已用完（申请 {1} 秒，还剩 {2} 秒）。请在 {3} 后再试"
    ),
    "Too many open files": "打开的文件太多",
    "Too many levels of symbolic links": "符号链接的层数太多",
    "Input/output error": "读写出错",
    "Invalid argument": "参数不对",
    "File is not a zip file": "文件不是 zip",
}
