/**
 * Stands in for react-style-singleton, whose <style> elements would ask for 'unsafe-inline' in the content security
 * policy. All they do is to stop the page from scrolling behind a dialog, and this page does not scroll.
 */
export const styleSingleton = () => () => null;
