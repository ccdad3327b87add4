// A tile in the launcher and a tab with the pages of mlops_nb.jupyter.server. JupyterLab loads this file as it is: no build.
(() => {
  const COMMAND = 'mlops-nb:open';
  const ICON =
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">' +
    '<path d="M3 19h18v2H3z"/><path d="M3 15l5-6 4 3 6-8 3 2.2-8.4 11.2-4-3L5 17z"/></g></svg>';
  let shared;

  const need = async (name) => (await Object.values(shared[name])[0].get())();

  // A page may link to a notebook: it opens in a tab of its own instead of taking JupyterLab's place.
  const openNotebooks = (app, page) => {
    page.addEventListener('click', (event) => {
      const link = event.target.closest?.('a[data-notebook]');
      if (link) {
        event.preventDefault();
        app.commands.execute('docmanager:open', { path: link.dataset.notebook });
      }
    });
  };

  // A page has the theme of JupyterLab, whatever the system's is.
  const takeTheme = (page) => {
    for (const element of [page.documentElement, page.body]) {
      element.dataset.jpThemeLight = document.body.dataset.jpThemeLight ?? 'true';
    }
  };

  const makePlugin = async () => {
    const { ICommandPalette, IFrame, IThemeManager, MainAreaWidget } = await need('@jupyterlab/apputils');
    const { ILauncher } = await need('@jupyterlab/launcher');
    const { PageConfig } = await need('@jupyterlab/coreutils');
    const { LabIcon } = await need('@jupyterlab/ui-components');
    const icon = new LabIcon({ name: 'mlops-nb:review', svgstr: ICON });
    let tab;

    const open = (app) => {
      if (!tab || tab.isDisposed) {
        // no scripts: the pages need none
        const content = new IFrame({ sandbox: ['allow-same-origin', 'allow-forms', 'allow-downloads'] });
        content.url = PageConfig.getBaseUrl() + 'mlops-nb/';
        tab = new MainAreaWidget({ content });
        tab.id = 'mlops-nb-review';
        tab.title.label = 'Drift review';
        tab.title.icon = icon;
        tab.title.closable = true;
        const frame = content.node.querySelector('iframe');
        frame.addEventListener('load', () => {
          if (frame.contentDocument?.body) {
            takeTheme(frame.contentDocument);
            openNotebooks(app, frame.contentDocument);
          }
        });
        app.shell.add(tab, 'main');
      }
      app.shell.activateById(tab.id);
      return tab;
    };

    return {
      id: 'mlops-nb:plugin',
      autoStart: true,
      optional: [ILauncher, ICommandPalette, IThemeManager],
      activate: (app, launcher, palette, themes) => {
        app.commands.addCommand(COMMAND, {
          label: 'Drift review',
          caption: 'Drift reports, and what people decide',
          icon,
          execute: () => open(app),
        });
        launcher?.add({ command: COMMAND, category: 'Other', rank: 1 });
        palette?.addItem({ command: COMMAND, category: 'MLOps' });
        themes?.themeChanged.connect(() => {
          const page = tab && !tab.isDisposed && tab.node.querySelector('iframe').contentDocument;
          if (page?.body) takeTheme(page);
        });
      },
    };
  };

  (window._JUPYTERLAB = window._JUPYTERLAB || {})['mlops-nb'] = {
    init: (scope) => {
      shared = scope;
    },
    get: async () => {
      const plugin = await makePlugin();
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
