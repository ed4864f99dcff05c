import "codemirror/addon/display/placeholder.js";

/**
 * CodeMirror 5 has no name for a screen reader and keeps the Tab key to itself; this gives every editor both manners.
 * Tab indents as ever; Escape and then Tab goes on to the next control.
 */
export function reachableEditor(editor) {
  const name = nameOf(editor);
  editor.setOption("screenReaderLabel", `${name}. Escape, then Tab, leaves it.`);
  editor.setOption("lineWrapping", true);
  if (name === "Headers editor") editor.setOption("placeholder", '{"Authorization": "Bearer <key>"}');

  let leaving = false;
  editor.on("keydown", (_, event) => {
    if (event.key === "Shift") return;
    if (event.key === "Tab" && (leaving || editor.isReadOnly())) event.codemirrorIgnore = true;
    leaving = event.key === "Escape";
  });
}

function nameOf(editor) {
  const pane = editor.getWrapperElement().parentElement;
  if (pane.closest(".graphiql-query-editor")) return "Query editor";
  if (pane.closest(".graphiql-editor-tool")) return pane.previousElementSibling ? "Headers editor" : "Variables editor";
  return "Response";
}
