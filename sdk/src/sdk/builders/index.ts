/** Every builder and its factory, in the order of the reference. */
export { embed, EmbedBuilder } from './embed'
export { actionRow, ActionRowBuilder, button, ButtonBuilder } from './buttons'
export {
  channelSelect,
  ChannelSelectMenuBuilder,
  mentionableSelect,
  MentionableSelectMenuBuilder,
  roleSelect,
  RoleSelectMenuBuilder,
  SelectMenuBuilderBase,
  stringSelect,
  StringSelectMenuBuilder,
  userSelect,
  UserSelectMenuBuilder,
} from './selects'
export { fileUpload, FileUploadBuilder, inputText, InputTextBuilder, label, LabelBuilder } from './inputs'
export {
  container,
  ContainerBuilder,
  file,
  FileBuilder,
  mediaGallery,
  MediaGalleryBuilder,
  section,
  SectionBuilder,
  separator,
  SeparatorBuilder,
  textDisplay,
  TextDisplayBuilder,
  thumbnail,
  ThumbnailBuilder,
} from './layout'
