// Where a page has its data from. A report holds all of it; another page may fetch it, with the same two functions.

/**
 * The data that stands in the page itself.
 *
 * `load()` answers with what `cluster/view/document.py` describes. `picture(number)` answers with null, or with a
 * url and, for a picture that is a part of a sheet, x, y, width, height in it and the sheet's own size.
 */
export function embeddedData() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const pictures = read("pictures");
  return {
    load: async () => read("document"),
    picture(number) {
      const held = number < 0 ? null : pictures.stills[number];
      if (!held) return null;
      if (typeof held === "string") return { url: `data:image/webp;base64,${held}` };
      const [sheet, x, y, width, height] = held;
      const { name, size } = pictures.sheets[sheet];
      return { url: name, part: { x, y, width, height, sheetWidth: size[0], sheetHeight: size[1] } };
    },
  };
}
